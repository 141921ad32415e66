"""Our tracer: areas, shares and sub-pixel contours instead of one colour a pixel. See docs/VECTORIZE.md."""

from serve.vector.coverage.tracer import trace_coverage
from serve.vector.coverage.warm import warm

__all__ = ["trace_coverage", "warm"]
