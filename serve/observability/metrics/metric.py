"""Counters, gauges and histograms of one process, kept in memory and read by the exporter.

An update takes about a microsecond and does not block. Label values are positional, in the order of ``labels``, and
from bounded sets; a metric keeps at most ``MAX_SERIES`` combinations.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

MAX_SERIES = 1000
OVERFLOW_LABEL = "other"
"""Label value of all combinations beyond the limit."""

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One value in Prometheus' form. ``counts``: it is a counter."""

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

    def _bounded_key(self, key: Labels, among: Mapping[Labels, object]) -> Labels:
        """``key``, or the overflow series if the limit is reached. Called for new keys."""
        if len(key) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {key}")
        return key if len(among) < MAX_SERIES else (OVERFLOW_LABEL,) * len(key)


class _Single(Metric):
    """One number per combination of labels."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[Labels, float] = {}
        if not self.labels and isinstance(self, Counter):
            self._values[()] = 0.0  # so that the first increment is visible to `rate`

    def add(self, amount: float, *labels: str) -> None:
        with self._lock:
            if labels not in self._values:
                labels = self._bounded_key(labels, self._values)
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[Sample]:
        for key, value in self._values.copy().items():
            yield Sample(self.name, dict(zip(self.labels, key, strict=True)), value, isinstance(self, Counter))


class Counter(_Single):
    """``known``: label combinations that start at 0, since a rate needs an initial value."""

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
                labels = self._bounded_key(labels, self._values)
            self._values[labels] = value

    def clear(self) -> None:
        """Remove all series."""
        with self._lock:
            self._values.clear()


class Age(Gauge):
    """Age in seconds of something that began at a ``monotonic`` time; increases without updates."""

    def since(self, began: float | None, *labels: str) -> None:
        """Set the start time; None: age 0."""
        self.set(math.inf if began is None else began, *labels)

    def value(self, *labels: str) -> float:
        return max(0.0, time.monotonic() - self._values.get(labels, math.inf))

    def samples(self) -> Iterator[Sample]:
        for one in super().samples():
            yield replace(one, value=max(0.0, time.monotonic() - one.value))


class Histogram(Metric):
    """``buckets``: ascending upper bounds; +Inf is added."""

    kind = "histogram"

    def __init__(self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self.buckets = tuple(buckets)
        self._bounds = (*(f"{bound:g}" for bound in self.buckets), "+Inf")
        self._rows: dict[Labels, list[float]] = {}
        """Observations per bucket, then the sum of values."""

    def observe(self, value: float, *labels: str) -> None:
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                row = self._rows.setdefault(self._bounded_key(labels, self._rows), [0.0] * (len(self.buckets) + 2))
            row[bisect_left(self.buckets, value)] += 1
            row[-1] += value

    def replace(self, values: Iterable[float], *labels: str) -> None:
        """Replace all observations: a distribution at this moment."""
        with self._lock:
            self._rows.pop(labels, None)
            self._rows[self._bounded_key(labels, self._rows)] = [0.0] * (len(self.buckets) + 2)
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
    """Samples of other exporters, passed through: the newest of each source."""

    def __init__(self) -> None:
        self._from: dict[str, Sequence[Sample]] = {}

    def replace(self, source: str, samples: Sequence[Sample]) -> None:
        self._from[source] = samples

    def samples(self) -> Iterator[Sample]:
        for samples in self._from.copy().values():
            yield from samples
