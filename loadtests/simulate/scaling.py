"""Replicas that follow the load, as Ray Serve has them follow: by the requests under way, after a delay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.simulate.replica import Picture
from loadtests.simulate.simulation import Result, Site, simulate

EVERY_S = 1.0


@dataclass(frozen=True)
class Policy:
    """Grows when more than ``target`` requests a replica have been under way for ``upscale_delay_s``."""

    target: float = 4.0
    upscale_delay_s: float = 5.0
    most: int = 16


class Autoscaler:
    """``history``: replicas that draw, by the seconds since the start."""

    def __init__(self, site: Site, policy: Policy, until_s: float) -> None:
        self._site, self._policy, self._until_s = site, policy, until_s
        self._since: float | None = None
        self._starting = 0
        self.history: list[tuple[float, int]] = [(0.0, len(site.members))]
        site.clock.after(EVERY_S, self._look)

    def _look(self) -> None:
        now, members = self._site.clock.now, len(self._site.members)
        load = sum(replica.load for replica in self._site.members)
        wanted = min(self._policy.most, math.ceil(load / self._policy.target))
        if wanted <= members + self._starting:
            self._since = None
        else:
            self._since = now if self._since is None else self._since
            if now - self._since >= self._policy.upscale_delay_s:
                self._start(wanted - members - self._starting)
        if now < self._until_s:
            self._site.clock.after(EVERY_S, self._look)

    def _start(self, count: int) -> None:
        self._since = None
        self._starting += count
        for _ in range(count):
            self._site.clock.after(self._site.curve.start_s, self._started)

    def _started(self) -> None:
        self._starting -= 1
        self._site.grow()
        self.history.append((self._site.clock.now, len(self._site.members)))


def burst(site: Site, requests: Sequence[Picture], policy: Policy) -> tuple[Result, Autoscaler]:
    scaler = Autoscaler(site, policy, requests[-1].arrived_s)
    return simulate(site, requests), scaler


def settled_s(requests: Sequence[Picture], from_s: float, limit_s: float) -> float:
    """Seconds from ``from_s`` until the last request that came and then took more than ``limit_s``."""
    late = [
        one.arrived_s for one in requests if one.arrived_s >= from_s and (one.done_s or 0.0) - one.arrived_s > limit_s
    ]
    return max(late) - from_s if late else 0.0
