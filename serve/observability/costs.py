"""Cost of a request: CPU and GPU seconds, charged to the request's bill where they are spent.

A bill applies to the task that opened it and to all tasks started from it. Cached results cost nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from serve.observability.metrics import catalogue

CPU, GPU = "cpu_seconds", "gpu_seconds"


@dataclass
class Bill:
    """CPU seconds (of one core) and GPU seconds (of one GPU)."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0

    def to_json(self) -> dict[str, float]:
        return {CPU: round(self.cpu_s, 6), GPU: round(self.gpu_s, 6)}

    def pay(self, ensemble: str, model: str = "none") -> None:
        """Add it to the metrics; call once, when the work has ended."""
        catalogue.COST_CPU.add(self.cpu_s, ensemble, model)
        catalogue.COST_GPU.add(self.gpu_s, ensemble, model)


_bill: ContextVar[Bill | None] = ContextVar("bill", default=None)


@contextlib.contextmanager
def billed() -> Iterator[Bill]:
    """Collect the charges of the block on a new bill."""
    bill = Bill()
    before = _bill.set(bill)
    try:
        yield bill
    finally:
        with contextlib.suppress(ValueError):  # a generator that is closed from elsewhere
            _bill.reset(before)


def current_cost() -> dict[str, float]:
    """The current bill; empty if there is none."""
    bill = _bill.get()
    return {} if bill is None else bill.to_json()


def charge(cpu_s: float, gpu_s: float = 0.0) -> None:
    """Add to the current bill; without one (probes, idle work) nothing is charged."""
    if (bill := _bill.get()) is not None:
        bill.cpu_s += cpu_s
        bill.gpu_s += gpu_s


class CostAccumulator:
    """Total cost of work that may be continued by another worker, each of which reports only its own cost."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._last: Mapping[str, float] = {}

    def now(self, cost: Mapping[str, float]) -> dict[str, float]:
        """The total. A lower value than before means that another worker has started from zero."""
        if any(cost.get(name, 0.0) < self._last.get(name, 0.0) for name in (CPU, GPU)):
            self._before = total(self._before, self._last)
        self._last = cost
        return total(self._before, cost)


def total(costs: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, float]:
    """Sum of costs in the form of `Bill.to_json`; missing values count as 0."""
    return {name: round(sum(float(one.get(name, 0.0)) for one in (costs, *others)), 6) for name in (CPU, GPU)}
