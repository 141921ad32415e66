"""One replica with one GPU, and two ways to batch: steps of whatever is under way (ours), or whole requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loadtests.simulate.clock import Clock
from loadtests.simulate.curve import Curve

PLACES = 16
"""Pictures that a replica draws at once (``illustrator.max_ongoing_requests``); others wait for one of them."""


@dataclass(eq=False)
class Picture:
    """``cancel_s``: when its caller goes away, if he does. ``computed``: steps that were made for it, ``wasted`` of
    them answered when he had gone."""

    arrived_s: float
    steps: int
    cancel_s: float | None = None
    left: int = 0
    computed: int = 0
    wasted: int = 0
    done_s: float | None = None

    def cancelled(self, now: float) -> bool:
        return self.cancel_s is not None and now >= self.cancel_s

    def answered(self, now: float) -> None:
        """A step of it was."""
        self.computed += 1
        self.wasted += self.cancelled(now)


Done = Callable[[Picture], None]


class Replica(Protocol):
    """``load``: pictures that wait or are drawn. ``busy_s``: how long its GPU has computed."""

    load: int
    busy_s: float

    def take(self, picture: Picture) -> None: ...


class StepLevel:
    """Every step is a request to the batcher: it takes what is there as soon as the GPU is free."""

    def __init__(self, clock: Clock, curve: Curve, done: Done, places: int = PLACES) -> None:
        self._clock, self._curve, self._done = clock, curve, done
        self._free_places = places
        self._waiting: deque[Picture] = deque()
        self._pending: deque[Picture] = deque()
        self._running = self._due = False
        self.load = 0
        self.busy_s = 0.0

    def take(self, picture: Picture) -> None:
        self.load += 1
        self._waiting.append(picture)
        self._admit()

    def _admit(self) -> None:
        while self._free_places and self._waiting:
            picture = self._waiting.popleft()
            if picture.cancelled(self._clock.now):
                self._leave(picture)
                continue
            self._free_places -= 1
            picture.left = picture.steps
            self._clock.after(self._curve.fixed_ms / 2e3, lambda one=picture: self._ask(one))  # type: ignore[misc]

    def _ask(self, picture: Picture) -> None:
        """For its next step, unless nobody waits for it any more."""
        if picture.cancelled(self._clock.now):
            self._give_back(picture)
            return
        self._pending.append(picture)
        self._begin()

    def _begin(self) -> None:
        """With all who ask at this moment: what is due now comes before what is asked for now."""
        if not self._running and not self._due:
            self._due = True
            self._clock.after(0.0, self._run)

    def _run(self) -> None:
        self._due = False
        if self._running or not self._pending:
            return
        self._running = True
        batch = [self._pending.popleft() for _ in range(min(len(self._pending), self._curve.cap))]
        took_s = self._curve.step_s(len(batch))
        self.busy_s += took_s
        self._clock.after(took_s, lambda: self._answered(batch))

    def _answered(self, batch: list[Picture]) -> None:
        self._running = False
        for picture in batch:
            picture.left -= 1
            picture.answered(self._clock.now)
            if picture.left:
                self._clock.after(self._curve.between_ms / 1e3, lambda one=picture: self._ask(one))  # type: ignore[misc]
            else:
                self._clock.after(self._curve.fixed_ms / 2e3, lambda one=picture: self._give_back(one))  # type: ignore[misc]
        self._begin()

    def _give_back(self, picture: Picture) -> None:
        self._free_places += 1
        self._leave(picture)
        self._admit()

    def _leave(self, picture: Picture) -> None:
        self.load -= 1
        picture.done_s = self._clock.now
        self._done(picture)


class RequestLevel:
    """Those that wait when the GPU is free go together, and leave together when the longest is done.

    Who has no step left is not computed any further, which is generous: many such servers pad. Nobody leaves a batch,
    so what is cancelled is drawn to its end.
    """

    def __init__(self, clock: Clock, curve: Curve, done: Done, most: int | None = None) -> None:
        self._clock, self._curve, self._done = clock, curve, done
        self._most = min(most or curve.cap, curve.cap)
        self._waiting: deque[Picture] = deque()
        self._running = False
        self.load = 0
        self.busy_s = 0.0

    def take(self, picture: Picture) -> None:
        self.load += 1
        self._waiting.append(picture)
        self._run()

    def _run(self) -> None:
        if self._running:
            return
        batch = self._next()
        if not batch:
            return
        self._running = True
        lasts_s = self._curve.fixed_ms / 1e3
        for step in range(max(picture.steps for picture in batch)):
            going = [picture for picture in batch if picture.steps > step]
            took_s = self._curve.step_s(len(going))
            self.busy_s += took_s
            lasts_s += took_s + self._curve.between_ms / 1e3
            for picture in going:
                picture.answered(self._clock.now + lasts_s)
        self._clock.after(lasts_s, lambda: self._finished(batch))

    def _next(self) -> list[Picture]:
        batch: list[Picture] = []
        while self._waiting and len(batch) < self._most:
            picture = self._waiting.popleft()
            if picture.cancelled(self._clock.now):
                self._leave(picture)
            else:
                batch.append(picture)
        return batch

    def _finished(self, batch: list[Picture]) -> None:
        self._running = False
        for picture in batch:
            self._leave(picture)
        self._run()

    def _leave(self, picture: Picture) -> None:
        self.load -= 1
        picture.done_s = self._clock.now
        self._done(picture)
