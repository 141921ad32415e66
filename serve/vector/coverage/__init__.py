"""The coverage tracer: areas, shares and sub-pixel contours instead of one colour per pixel; see docs/VECTORIZE.md. May
import `serve.vector` modules below `trace`. Begin with `tracer`, which lists the steps in order.
"""

from serve.vector.coverage.tracer import Drawing, draw_coverage, trace_coverage, warm

__all__ = ["Drawing", "draw_coverage", "trace_coverage", "warm"]
