"""Untrusted SVG made safe by an allow-list. Begin with `svg`."""
