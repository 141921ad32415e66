"""SVG texts of our tracers in other formats of vector graphics: compressed, PDF, EPS and DXF."""
