"""What ``/proc`` tells of the processes below one of ours."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """The pids of the child processes of ``pid``, whichever of its threads started them."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.extend(int(child) for child in listing.read_text().split())
        except OSError:
            continue  # the thread or the process has ended meanwhile
    return found


def descendants(pid: int) -> list[int]:
    """All pids below ``pid``."""
    direct = children(pid)
    return direct + [below for child in direct for below in descendants(child)]


def is_zombie(pid: int) -> bool:
    """Whether ``pid`` has ended and its parent has not noticed."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def has_zombies(pid: int) -> bool:
    """Whether a process below ``pid`` has ended unnoticed."""
    return any(is_zombie(below) for below in descendants(pid))
