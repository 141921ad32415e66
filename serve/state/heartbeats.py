"""Heartbeats as one observer sees them, timed by its own monotonic clock: clocks are never compared."""

from __future__ import annotations

from collections.abc import Mapping

LastSeen = dict[str, tuple[int, float]]
"""By worker id: its heartbeat count, and since when it has had that count."""


def updated(last_seen: LastSeen, heartbeats: Mapping[str, int], now: float) -> LastSeen:
    """``last_seen`` after another query that returned ``heartbeats``; ids not among them are dropped."""
    return {
        worker_id: previous if (previous := last_seen.get(worker_id)) and previous[0] == heartbeat else (heartbeat, now)
        for worker_id, heartbeat in heartbeats.items()
    }
