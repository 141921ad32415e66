"""The tracer of photographs, paintings and scans: regions of a merge tree, nested into each other."""

from serve.vector.pictorial.detection import is_pictorial
from serve.vector.pictorial.tracer import trace_pictorial, warm

__all__ = ["is_pictorial", "trace_pictorial", "warm"]
