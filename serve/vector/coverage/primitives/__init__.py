"""Whole shapes: a contour that is a circle, an ellipse or a rectangle (turned, with rounded corners) within the
picture's accuracy.

A shape's six values are its centre (x, y), its half sides (a, b) or radii, its turn in radians, and the radius of its
corners. It is fitted to the visible stretches of a contour by least squares on the signed distance (Levenberg and
Marquardt with numerical derivatives and Huber's weights), so that a shape that lies partly below others is found too.

May import `kernel` and the type of segments. Begin with `finding`.
"""

from serve.vector.coverage.primitives.finding import RMS_PX, find_primitive, stroke_width
from serve.vector.coverage.primitives.least_squares import moved_to
from serve.vector.coverage.primitives.primitive import (
    CIRCLE,
    CORNER,
    CX,
    CY,
    ELLIPSE,
    RECT,
    TURN,
    A,
    B,
    Primitive,
    distance,
    flattened,
    is_within,
)

__all__ = [
    "CIRCLE",
    "CORNER",
    "CX",
    "CY",
    "ELLIPSE",
    "RECT",
    "RMS_PX",
    "TURN",
    "A",
    "B",
    "Primitive",
    "distance",
    "find_primitive",
    "flattened",
    "is_within",
    "moved_to",
    "stroke_width",
]
