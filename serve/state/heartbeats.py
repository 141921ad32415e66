"""Whose beat stands still, by the watcher's own clock: no two clocks are compared, so one that is set is no matter."""

from __future__ import annotations

from collections.abc import Mapping

Seen = dict[str, tuple[int, float]]
"""By who beats: the beat, and since when it is that."""


def looked_again(seen: Seen, beats: Mapping[str, int], now: float) -> Seen:
    """``seen`` after another look, which found ``beats``; who is not among them is forgotten."""
    return {
        one: before if (before := seen.get(one)) and before[0] == beat else (beat, now) for one, beat in beats.items()
    }
