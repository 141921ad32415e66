"""Versions of engines: which are served, to whom, and how one takes another's place (D-083, D-091)."""
