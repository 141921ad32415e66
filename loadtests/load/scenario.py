"""Scenarios: how many ask, for how long, and what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("scenarios.yaml")
MAX_PER_MINUTE = 60_000.0


@dataclass(frozen=True)
class Stage:
    """``users`` at once for ``seconds``; they come, or go, ``spawn_rate`` a second."""

    seconds: float
    users: int
    spawn_rate: float


@dataclass(frozen=True)
class Scenario:
    """``mix``: shares by the name of a user. ``per_minute`` 0: users who wait for their answers. ``catalogue`` 0: every
    request is work. ``limit_s``: what is not done within it has failed. ``stack``: settings, by section, of one that is
    started for it."""

    name: str
    mix: Mapping[str, int]
    stages: tuple[Stage, ...]
    per_minute: float = 0.0
    steps: int = 8
    tier: str = "auto"
    catalogue: int = 0
    limit_s: float = 120.0
    stack: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.mix or min(self.mix.values()) < 1:
            raise ValueError(f"{self.name}: a mix has users with shares of 1 and more")
        if not self.stages or min(stage.seconds for stage in self.stages) <= 0:
            raise ValueError(f"{self.name}: stages last longer than no time")
        if not 0 <= self.per_minute <= MAX_PER_MINUTE:
            raise ValueError(f"{self.name}: per_minute must be from 0 to {MAX_PER_MINUTE:g}")

    @property
    def run_time_s(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def at(self, seconds: float) -> Stage | None:
        """The stage that is on ``seconds`` after the start; None after the last."""
        for stage in self.stages:
            seconds -= stage.seconds
            if seconds < 0:
                return stage
        return None


@dataclass(frozen=True)
class Changes:
    """What a command line changes of a scenario; None leaves it."""

    mix: str | None = None
    users: int | None = None
    run_time_s: float | None = None
    per_minute: float | None = None
    steps: int | None = None
    tier: str | None = None
    catalogue: int | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


_UNCHANGED = Changes()


def names(path: Path = FILE) -> list[str]:
    return sorted(_read(path)["scenarios"])


def mixes(path: Path = FILE) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = _read(path)["mixes"]
    return found


def scenario(name: str, changes: Changes = _UNCHANGED, path: Path = FILE) -> Scenario:
    """Raises ``KeyError`` for a name or a mix that is not in ``path``."""
    read = _read(path)
    return parse(name, read["scenarios"][name] | changes.given(), read["mixes"])


def parse(name: str, values: Mapping[str, Any], known: Mapping[str, Mapping[str, int]]) -> Scenario:
    """``values``: as in the file."""
    left = dict(values)
    mix = known[left.pop("mix")]
    stages = _stages(left)
    return Scenario(name, mix, stages, **left)


@dataclass
class _Users:
    users: int = 1
    spawn_rate: float = 1.0
    run_time_s: float = 0.0
    stages: list[tuple[float, int]] = field(default_factory=list)


def _stages(left: dict[str, Any]) -> tuple[Stage, ...]:
    """Takes out of ``left`` what tells of users. More of them than the scenario thought of come within a second."""
    own = _Users(**{name: left.pop(name) for name in ("users", "spawn_rate", "run_time_s", "stages") if name in left})
    if not own.stages:
        return (Stage(own.run_time_s, own.users, own.spawn_rate),)
    return tuple(Stage(float(seconds), users, float(max(users, 1))) for seconds, users in own.stages)


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded
