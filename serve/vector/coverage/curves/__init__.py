"""Curves: a closed contour of points becomes corners, straight lines and cubic Béziers within a tolerance.

A segment is a row of nine numbers: 1 for a line or 0 for a cubic, then its four control points; a line's inner two
lie at its thirds.

May import `corners`, `lines` and `kernel`. Begin with `contour`.
"""

from serve.vector.coverage.curves.contour import Segments, fit_contour, fit_open

__all__ = ["Segments", "fit_contour", "fit_open"]
