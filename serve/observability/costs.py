"""What a request costs: processor and GPU seconds that are spent for it, charged to its bill where they are spent.

A bill goes along with the task that opened it and with all tasks that come from that one. What a request only finds (a
cached answer, a prompt that was encoded before) costs it nothing.
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
    """Seconds of one processor, and of one GPU."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0

    def to_json(self) -> dict[str, float]:
        return {CPU: round(self.cpu_s, 6), GPU: round(self.gpu_s, 6)}

    def pay(self, ensemble: str, model: str = "none") -> None:
        """Count it: once, when the work has ended, however it did."""
        catalogue.COST_CPU.add(self.cpu_s, ensemble, model)
        catalogue.COST_GPU.add(self.gpu_s, ensemble, model)


_bill: ContextVar[Bill | None] = ContextVar("bill", default=None)


@contextlib.contextmanager
def billed() -> Iterator[Bill]:
    """What is charged within goes on this bill, and on no other."""
    bill = Bill()
    before = _bill.set(bill)
    try:
        yield bill
    finally:
        with contextlib.suppress(ValueError):  # a generator that is closed from elsewhere
            _bill.reset(before)


def current_cost() -> dict[str, float]:
    """What is on the current bill by now; empty where there is none."""
    bill = _bill.get()
    return {} if bill is None else bill.to_json()


def charge(cpu_s: float, gpu_s: float = 0.0) -> None:
    """To whoever it is done for; to nobody for what the stack does of its own accord, such as probes."""
    if (bill := _bill.get()) is not None:
        bill.cpu_s += cpu_s
        bill.gpu_s += gpu_s


class Spent:
    """What was spent for work that goes on elsewhere when who does it dies: each tells what he alone has, so far."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._last: Mapping[str, float] = {}

    def now(self, cost: Mapping[str, float]) -> dict[str, float]:
        """All of it. Nothing that is spent comes back: less than before is of somebody who has begun anew."""
        if any(cost.get(name, 0.0) < self._last.get(name, 0.0) for name in (CPU, GPU)):
            self._before = total(self._before, self._last)
        self._last = cost
        return total(self._before, cost)


def total(costs: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, float]:
    """The sum of what `Bill.to_json` gave; what nobody measured counts as nothing."""
    return {name: round(sum(float(one.get(name, 0.0)) for one in (costs, *others)), 6) for name in (CPU, GPU)}
