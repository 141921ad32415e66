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


def state(pid: int) -> str:
    """The letter that the kernel has for what ``pid`` does; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def is_zombie(pid: int) -> bool:
    """Whether ``pid`` has ended and its parent has not noticed."""
    return state(pid) == "Z"


def trouble(pid: int, *, ended: bool = True) -> str | None:
    """What a process below ``pid`` suffers from that no waiting mends: it has ended unnoticed (unless those do not
    count), or a signal has stopped it (``T``; under a debugger it is ``t``).

    ``pid`` keeps a tritonserver, whose children are its stubs. What a stub starts is the stub's to wait for.
    """
    servers = children(pid)
    if ended and any(is_zombie(one) for server in servers for one in (server, *children(server))):
        return "one of its processes ended"
    return "one of its processes is stopped" if "T" in map(state, descendants(pid)) else None
