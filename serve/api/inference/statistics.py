"""How often a model was asked of this gateway, and how long it took: Triton's ``ModelStatistics``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any


class Statistics:
    def __init__(self, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._stats = {"success": [0, 0], "fail": [0, 0]}  # count, nanoseconds
        self._last_inference_ms = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """One inference: a failure when the block raises or is given up."""
        start = time.perf_counter_ns()
        outcome = "fail"
        try:
            yield
            outcome = "success"
        finally:
            self._stats[outcome][0] += 1
            self._stats[outcome][1] += time.perf_counter_ns() - start
            self._last_inference_ms = time.time_ns() // 1_000_000

    def entry(self) -> dict[str, Any]:
        """One of ``model_stats``. An ensemble has no queue and no parts of its own: all the time is ``compute_infer``.

        perf_analyzer finds the version that answered it by the count of ``queue``.
        """
        succeeded, took_ns = self._stats["success"]
        parts = {part: {"count": succeeded, "ns": 0} for part in ("queue", "compute_input", "compute_output")}
        return {
            "name": self._name,
            "version": self._version,
            "last_inference": self._last_inference_ms,
            "inference_count": succeeded,
            "execution_count": succeeded,
            "inference_stats": {
                **{key: {"count": count, "ns": ns} for key, (count, ns) in self._stats.items()},
                **parts,
                "compute_infer": {"count": succeeded, "ns": took_ns},
            },
            "batch_stats": [],
        }
