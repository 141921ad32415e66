"""Who waits for a backup or a restore is told how far it is."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int | None], None]
"""What is being done, how much of it is, and of how much if that is known. Called in the event loop."""


def silent(what: str, done: int, total: int | None) -> None: ...
