"""Feature flags with per-user percentages (A-101)."""
