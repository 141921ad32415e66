"""What an SVG of our tracers is rewritten to: other kinds of curves, shapes cut out of each other, groups, outlines."""
