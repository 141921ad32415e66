"""Feature flags: on for some users, and for more of them as their percentage rises (A-101)."""
