"""Load on a running stack: drawn pictures, callers, scenarios and their limits."""
