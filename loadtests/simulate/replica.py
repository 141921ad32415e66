"""One replica with one GPU, and two ways to batch: steps of whatever is under way (ours), or whole requests."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


class Replica(abc.ABC):
    """``load``: pictures that wait or are drawn. ``busy_s``: how long its GPU computes, until ``free_at_s``."""

    def __init__(self, clock: Clock, curve: Curve, done: Done) -> None:
        self._clock, self._curve, self._done = clock, curve, done
        self._waiting: deque[Picture] = deque()
        self._running = False
        self.load = 0
        self.busy_s = self.free_at_s = 0.0

    def take(self, picture: Picture) -> None:
        self.load += 1
        self._waiting.append(picture)
        self._admit()

    @abc.abstractmethod
    def _admit(self) -> None:
        """Begins with those that wait, as many as may."""

    def _next(self) -> Picture | None:
        """The first that waits and is still wanted."""
        while self._waiting:
            picture = self._waiting.popleft()
            if not picture.cancelled(self._clock.now):
                return picture
            self._leave(picture)
        return None

    def _compute(self, took_s: float, then: Callable[..., None], *arguments: Any) -> None:
        self._running = True
        self.busy_s += took_s
        self.free_at_s = self._clock.now + took_s
        self._clock.after(took_s, then, *arguments)

    def _leave(self, picture: Picture) -> None:
        self.load -= 1
        picture.done_s = self._clock.now
        self._done(picture)


class StepLevel(Replica):
    """Every step is a request to the batcher: it takes what is there as soon as the GPU is free.

    A picture's text encoder and VAE take the GPU by themselves, half of ``fixed_ms`` each, before the steps that wait.
    """

    def __init__(self, clock: Clock, curve: Curve, done: Done, places: int = PLACES) -> None:
        super().__init__(clock, curve, done)
        self._half_s, self._between_s = curve.fixed_ms / 2e3, curve.between_ms / 1e3
        self._free_places = places
        self._single: deque[tuple[Callable[[list[Picture]], None], Picture]] = deque()
        """Encoders and VAEs, and what follows each."""
        self._pending: deque[Picture] = deque()
        self._due = False

    def _admit(self) -> None:
        while self._free_places and (picture := self._next()):
            self._free_places -= 1
            picture.left = picture.steps
            self._alone(self._ask, picture)

    def _alone(self, then: Callable[[list[Picture]], None], picture: Picture) -> None:
        if self._half_s:
            self._single.append((then, picture))
            self._begin()
        else:
            then([picture])

    def _ask(self, pictures: list[Picture]) -> None:
        """For their next steps, but for those for whom nobody waits any more."""
        for picture in pictures:
            if picture.cancelled(self._clock.now):
                self._give_back([picture])
            else:
                self._pending.append(picture)
        self._begin()

    def _begin(self) -> None:
        """With all who ask at this moment: what is due now comes before what is asked for now."""
        if not self._running and not self._due and (self._single or self._pending):
            self._due = True
            self._clock.after(0.0, self._run)

    def _run(self) -> None:
        self._due = False
        if self._running:
            return
        if self._single:
            then, picture = self._single.popleft()
            self._compute(self._half_s, self._computed, then, [picture])
        elif self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), self._curve.cap))]
            self._compute(self._curve.step_s(len(batch)), self._answered, batch)

    def _computed(self, then: Callable[[list[Picture]], None], pictures: list[Picture]) -> None:
        self._running = False
        then(pictures)
        self._begin()

    def _answered(self, batch: list[Picture]) -> None:
        self._running = False
        again = []
        for picture in batch:
            picture.left -= 1
            picture.answered(self._clock.now)
            if picture.left:
                again.append(picture)
            else:
                self._alone(self._give_back, picture)
        if again:
            self._clock.after(self._between_s, self._ask, again)
        self._begin()

    def _give_back(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            self._free_places += 1
            self._leave(picture)
        self._admit()


class RequestLevel(Replica):
    """Those that wait when the GPU is free go together, and leave together when the longest is done.

    Who has no step left is not computed any further, and nothing lies between two steps, which is generous: many such
    servers pad, and all have a scheduler. Nobody leaves a batch, so what is cancelled is drawn to its end.
    """

    def __init__(self, clock: Clock, curve: Curve, done: Done, most: int | None = None) -> None:
        super().__init__(clock, curve, done)
        self._most = min(most or curve.cap, curve.cap)

    def _admit(self) -> None:
        batch: list[Picture] = []
        while not self._running and len(batch) < self._most and (picture := self._next()):
            batch.append(picture)
        if batch:
            self._compute(self._lasts_s(batch), self._finished, batch)

    def _lasts_s(self, batch: list[Picture]) -> float:
        lasts_s = len(batch) * self._curve.fixed_ms / 1e3
        for step in range(max(picture.steps for picture in batch)):
            going = [picture for picture in batch if picture.steps > step]
            lasts_s += self._curve.step_s(len(going))
            for picture in going:
                picture.answered(self._clock.now + lasts_s)
        return lasts_s

    def _finished(self, batch: list[Picture]) -> None:
        self._running = False
        for picture in batch:
            self._leave(picture)
        self._admit()
