"""What the database and the object store take, and whether they answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from serve.errors import OutOfSpace, StateUnavailable
from serve.observability.metrics.metric import Histogram


@contextlib.contextmanager
def measured(histogram: Histogram, kind: str) -> Iterator[None]:
    """One use of ``kind`` is the block. An error is one of theirs; what whoever asked did wrong is none."""
    began, outcome = time.perf_counter(), "ok"
    try:
        yield
    except (StateUnavailable, OutOfSpace):
        outcome = "error"
        raise
    except asyncio.CancelledError:  # also one who has waited too long
        outcome = "cancelled"
        raise
    finally:
        histogram.observe(time.perf_counter() - began, kind, outcome)
