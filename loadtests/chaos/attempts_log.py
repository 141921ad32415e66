"""What clients saw, attempt by attempt, and what it comes to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class AttemptResult(Enum):
    """What one attempt of a client came to."""

    RIGHT = "right"
    DEGRADED = "degraded"
    """An SVG that says itself that an engine was missing, and what was done instead."""
    CLEAR = "clear"
    """429, 503, 504 or 507 with Retry-After, or gRPC's words for them, or a stream's last event, that say it, too."""
    BROKEN = "broken"
    """A connection that was refused, reset, or silent until the client gave the attempt up; a stream that ended early.
    gRPC's UNAVAILABLE that no gateway has said."""
    UNCLEAR = "unclear"
    """Another 5xx, or no word of when to come again."""
    REFUSED = "refused"
    """A 4xx: clients do not ask again."""
    WRONG = "wrong"
    """An answer that is not the known one."""


WELL = (AttemptResult.RIGHT, AttemptResult.DEGRADED)
FINAL = (*WELL, AttemptResult.REFUSED, AttemptResult.WRONG)
"""After these no client asks again."""


@dataclass(frozen=True)
class Attempt:
    """Times are of the monotonic clock, in seconds."""

    began: float
    ended: float
    result: AttemptResult
    details: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Entry:
    """One request of one client, until it was answered or given up."""

    door: str
    began: float
    attempts: list[Attempt] = field(default_factory=list)
    ended: float | None = None
    attempt_began: float | None = None
    """Of the attempt that is under way."""

    @property
    def moment(self) -> float:
        """When the first was seen that was amiss, or when it began."""
        return next((attempt.ended for attempt in self.attempts if attempt.result not in WELL), self.began)

    @property
    def verdict(self) -> str:
        """One of ``VERDICTS``, by the worst that its client saw before the right answer."""
        outcome = {attempt.result for attempt in self.attempts}
        last = self.attempts[-1].result if self.attempts else AttemptResult.BROKEN
        if AttemptResult.WRONG in outcome:
            return "wrong"
        if last not in WELL:
            return "lost"
        worst = next(
            (
                result
                for result in (AttemptResult.UNCLEAR, AttemptResult.BROKEN, AttemptResult.CLEAR)
                if result in outcome
            ),
            last,
        )
        return str(worst.value)


VERDICTS = ("right", "degraded", "clear", "broken", "unclear", "lost", "wrong")


@dataclass(frozen=True)
class Summary:
    """``recovery_s`` from the fault, or from its end where it has one, to the last sign of it; None: it never ended."""

    sent: int
    counts: dict[str, int]
    slowest_s: float
    recovery_s: float | None
    details: tuple[str, ...]


class AttemptLog:
    """All requests of a run. ``slow_s`` by door: what takes longer is a sign of a fault, though the answer be right."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.slow_s: dict[str, float] = {}

    def open(self, door: str) -> Entry:
        entry = Entry(door, time.monotonic())
        self.entries.append(entry)
        return entry

    def signs(self, since: float) -> list[float]:
        """The times at which something was seen to be amiss, of requests that began or ended after ``since``."""
        now = time.monotonic()
        found = []
        for entry in self.entries:
            slow_s = self.slow_s.get(entry.door, float("inf"))
            for attempt in entry.attempts:
                if attempt.ended >= since and (attempt.result is not AttemptResult.RIGHT or attempt.seconds > slow_s):
                    found.append(attempt.ended)
            waiting = entry.ended is None and entry.attempt_began is not None
            if waiting and now - (entry.attempt_began or now) > slow_s:
                found.append(now)
        return found

    def quiet_since(self, since: float) -> float:
        """The last sign after ``since``, or ``since``."""
        return max([since, *self.signs(since)])

    def between(self, begin: float, end: float) -> list[Entry]:
        """Requests whose ``moment`` was then, so that each belongs to one fault."""
        return [entry for entry in self.entries if begin <= entry.moment < end]

    def outside(self, spans: Iterable[tuple[float, float]]) -> list[Entry]:
        """Requests that belong to none of ``spans``, as ``between`` has them."""
        known = list(spans)
        return [entry for entry in self.entries if not any(begin <= entry.moment < end for begin, end in known)]

    def learn(self, factor: float = 4.0, least_s: float = 4.0) -> None:
        """Take what was seen so far for what is usual."""
        for door in {entry.door for entry in self.entries}:
            taken = sorted(a.seconds for e in self.entries if e.door == door for a in e.attempts if a.result in WELL)
            if taken:
                self.slow_s[door] = max(least_s, factor * taken[int(0.95 * (len(taken) - 1))])


def summary(
    entries: Sequence[Entry], recovery_s: float | None, slow_s: Mapping[str, float] = MappingProxyType({})
) -> Summary:
    counts = Counter(entry.verdict for entry in entries)
    taken = [a.seconds for entry in entries for a in entry.attempts]
    details = _details(entries, slow_s)
    return Summary(len(entries), {v: counts[v] for v in VERDICTS}, max(taken, default=0.0), recovery_s, tuple(details))


def _details(entries: Iterable[Entry], slow_s: Mapping[str, float], most: int = 12) -> list[str]:
    """What was said in attempts that were not right, or slow, the most frequent first."""
    outcome: Counter[str] = Counter()
    for entry in entries:
        limit_s = slow_s.get(entry.door, float("inf"))
        for attempt in entry.attempts:
            if attempt.result is not AttemptResult.RIGHT:
                outcome[f"{entry.door}: {attempt.result.value}: {attempt.details}"[:200]] += 1
            elif attempt.seconds > limit_s:
                outcome[f"{entry.door}: right, after more than {limit_s:.1f} s"] += 1
    return [f"{count} x {text}" for text, count in outcome.most_common(most)]
