"""Kills and freezes the parts of a stack under load, one at a time, and counts what its clients see."""
