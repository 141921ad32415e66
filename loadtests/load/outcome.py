"""What a run came to, from locust's own statistics: for each kind of request, and for all units of work together.

A unit of work is what a user came for: a conversion, a picture, a job from its request to its file. Its steps (a
submission, a look at a status, the fetching of a file) cost the stack little, and the more so the longer they have to
wait: they have lines of their own, and are in no rate, no percentile and no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STEP = "step: "
"""How the names of steps begin."""


@dataclass(frozen=True)
class Window:
    """The time of a run, on the clock of the day. What is answered after it counts, but for no rate."""

    began: float
    seconds: float

    def count(self, by_second: Mapping[str, int]) -> float:
        """Of ``by_second``, by the whole second of the day; of the last one only the share that is of the run."""
        end = self.began + self.seconds
        return sum(count * min(1.0, max(0.0, end - int(second))) for second, count in by_second.items())


@dataclass(frozen=True)
class Outcome:
    """A run in numbers. Waiting times as locust keeps them: rounded to two digits from 100 ms on.

    ``requests_per_second``: answered while the run went on, by its time. ``errors``: how often each was
    seen, by its text.
    """

    requests: int = 0
    failures: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    requests_per_second: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def right_per_second(self) -> float:
        """Requests per second that were answered, and rightly."""
        return self.requests_per_second * (1 - self.failures / self.requests) if self.requests else 0.0

    @property
    def failure_ratio(self) -> float:
        """Of nothing at all everything has failed."""
        return self.failures / self.requests if self.requests else 1.0


Entries = Sequence[Mapping[str, Any]]
"""Of locust's ``--json-file``: one per kind of request."""


def outcome(entries: Entries, window: Window, errors: Mapping[str, int] | None = None) -> Outcome:
    """All of ``entries`` together."""
    waits: Counter[float] = Counter()
    for entry in entries:
        waits.update({float(ms): count for ms, count in entry["response_times"].items()})
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    rate = sum(window.count(entry["num_reqs_per_sec"]) for entry in entries) / window.seconds
    p50, p95, p99 = (quantile(waits, share) for share in (0.5, 0.95, 0.99))
    return Outcome(requests, failures, p50, p95, p99, rate, errors or {})


def of_work(entries: Entries) -> Entries:
    """Without steps."""
    return [entry for entry in entries if not entry["name"].startswith(STEP)]


def by_kind(entries: Entries, window: Window, errors: Mapping[str, Mapping[str, int]]) -> dict[str, Outcome]:
    """``errors`` by kind and text. A kind is a vocabulary and what was asked for, or a step of that."""
    kinds = sorted({kind_of(entry) for entry in entries})
    return {kind: outcome([e for e in entries if kind_of(e) == kind], window, errors.get(kind)) for kind in kinds}


def by_vocabulary(entries: Entries, window: Window) -> dict[str, Outcome]:
    """Of units of work alone."""
    words = sorted({str(entry["method"]) for entry in entries})
    work = of_work(entries)
    return {word: outcome([entry for entry in work if entry["method"] == word], window) for word in words}


def by_result(entries: Entries, window: Window) -> dict[str, Outcome]:
    """Of units of work, by what they came for, whatever the vocabulary: conversions and pictures."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in of_work(entries):
        found.setdefault("conversions" if entry["name"].startswith("vectorize") else "pictures", []).append(entry)
    return {name: outcome(some, window) for name, some in sorted(found.items())}


def kind_of(entry: Mapping[str, Any]) -> str:
    return f"{entry['method']}: {entry['name']}"


def quantile(waits: Counter[float], share: float) -> float:
    """The smallest value that at least ``share`` of the counted values do not exceed."""
    left = share * waits.total()
    for value, count in sorted(waits.items()):
        left -= count
        if left <= 0:
            return value
    return 0.0
