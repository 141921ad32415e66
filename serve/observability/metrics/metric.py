"""Counters, gauges and histograms of one process: plain numbers in memory, which whoever exports them reads.

Recording one takes about a microsecond and never waits. Values of labels are positional, in the order of ``labels``;
each comes from a set that is bounded, and a metric keeps at most ``MOST_SERIES`` of their combinations.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

MOST_SERIES = 1000
REST = "other"
"""The labels of whatever comes when a metric has as many combinations as it may."""

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One number, as Prometheus has it. ``counts``: it only rises, by what happened."""

    name: str
    labels: Mapping[str, str]
    value: float
    counts: bool = False


class Metric:
    """``name`` follows Prometheus' conventions: base units, counters end in _total."""

    kind: ClassVar[str]

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._lock = threading.Lock()

    def samples(self) -> Iterator[Sample]:
        raise NotImplementedError

    def _known(self, key: Labels, among: Mapping[Labels, object]) -> Labels:
        """``key``, or what stands for all that there is no room for. Called where ``key`` is new."""
        if len(key) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {key}")
        return key if len(among) < MOST_SERIES else (REST,) * len(key)


class _Single(Metric):
    """One number for each combination of labels."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[Labels, float] = {}
        if not self.labels and isinstance(self, Counter):
            self._values[()] = 0.0  # the first that happens is then seen to be one more

    def add(self, amount: float, *labels: str) -> None:
        with self._lock:
            if labels not in self._values:
                labels = self._known(labels, self._values)
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[Sample]:
        for key, value in self._values.copy().items():
            yield Sample(self.name, dict(zip(self.labels, key, strict=True)), value, isinstance(self, Counter))


class Counter(_Single):
    """What is ``known`` to come some day is there from the start, at 0: a rate needs a value to begin with."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), known: Iterable[Labels] = ()) -> None:
        super().__init__(name, help, labels)
        for one in known:
            self.add(0, *one)


class Gauge(_Single):
    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        with self._lock:
            if labels not in self._values:
                labels = self._known(labels, self._values)
            self._values[labels] = value

    def clear(self) -> None:
        """What was set is not so any more."""
        with self._lock:
            self._values.clear()


class Age(Gauge):
    """In seconds, of what began at a time of ``monotonic``: it grows by itself, also where nothing moves any more."""

    def since(self, began: float | None, *labels: str) -> None:
        """None: there is nothing of that kind, and the age is 0."""
        self.set(math.inf if began is None else began, *labels)

    def value(self, *labels: str) -> float:
        return max(0.0, time.monotonic() - self._values.get(labels, math.inf))

    def samples(self) -> Iterator[Sample]:
        for one in super().samples():
            yield replace(one, value=max(0.0, time.monotonic() - one.value))


class Histogram(Metric):
    """``buckets`` are the upper bounds, rising; what is above the last one is counted all the same."""

    kind = "histogram"

    def __init__(self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self.buckets = tuple(buckets)
        self._bounds = (*(f"{bound:g}" for bound in self.buckets), "+Inf")
        self._rows: dict[Labels, list[float]] = {}
        """How many in each bucket alone, and last their sum."""

    def observe(self, value: float, *labels: str) -> None:
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                row = self._rows.setdefault(self._known(labels, self._rows), [0.0] * (len(self.buckets) + 2))
            row[bisect_left(self.buckets, value)] += 1
            row[-1] += value

    def replace(self, values: Iterable[float], *labels: str) -> None:
        """Of ``values`` alone, whatever was observed before: how something is spread now."""
        with self._lock:
            self._rows.pop(labels, None)
            self._rows[self._known(labels, self._rows)] = [0.0] * (len(self.buckets) + 2)
        for value in values:
            self.observe(value, *labels)

    def count(self, *labels: str) -> int:
        return int(sum(self._rows.get(labels, [0.0])[:-1]))

    def sum(self, *labels: str) -> float:
        return self._rows.get(labels, [0.0])[-1]

    def samples(self) -> Iterator[Sample]:
        for key, row in self._rows.copy().items():
            labels, below = dict(zip(self.labels, key, strict=True)), 0.0
            *counts, total = row.copy()
            for bound, count in zip(self._bounds, counts, strict=True):
                below += count
                yield Sample(f"{self.name}_bucket", {**labels, "le": bound}, below)
            yield Sample(f"{self.name}_count", labels, below)
            yield Sample(f"{self.name}_sum", labels, total)


class PassThrough:
    """Numbers that somebody else counted, passed on as they are: the newest from each source."""

    def __init__(self) -> None:
        self._from: dict[str, Sequence[Sample]] = {}

    def replace(self, source: str, samples: Sequence[Sample]) -> None:
        self._from[source] = samples

    def samples(self) -> Iterator[Sample]:
        for samples in self._from.copy().values():
            yield from samples
