"""Our tracer: areas, shares and sub-pixel contours instead of one colour a pixel. See docs/VECTORIZE.md."""

from serve.vector.coverage.tracer import Drawing, draw_coverage, trace_coverage
from serve.vector.coverage.warm import warm

__all__ = ["Drawing", "draw_coverage", "trace_coverage", "warm"]
