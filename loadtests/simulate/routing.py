"""Which replica a request goes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from loadtests.simulate.replica import Replica

Route = Callable[[Sequence[Replica], random.Random], Replica]


def at_random(replicas: Sequence[Replica], chance: random.Random) -> Replica:
    return replicas[chance.randrange(len(replicas))]


class InTurn:
    """Round robin."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, replicas: Sequence[Replica], chance: random.Random) -> Replica:
        self._next += 1
        return replicas[self._next % len(replicas)]


def of_two(replicas: Sequence[Replica], chance: random.Random) -> Replica:
    """The less loaded of two at random (power of two choices): what Ray Serve does."""
    if len(replicas) == 1:
        return replicas[0]
    first, second = chance.sample(range(len(replicas)), 2)
    return min(replicas[first], replicas[second], key=lambda replica: replica.load)


def least_loaded(replicas: Sequence[Replica], chance: random.Random) -> Replica:
    """Needs to know all loads at once, which no router of many replicas does."""
    return min(replicas, key=lambda replica: replica.load)


ROUTES: dict[str, Callable[[], Route]] = {
    "random": lambda: at_random,
    "round robin": InTurn,
    "power of two": lambda: of_two,
    "least loaded": lambda: least_loaded,
}
