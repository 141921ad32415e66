"""Processes below this one, from ``/proc``: their state, CPU time and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from serve.observability.metrics import catalogue

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Pids of the child processes of ``pid``, over all its threads."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.extend(int(child) for child in listing.read_text().split())
        except OSError:
            continue  # the thread or process has ended
    return found


def descendants(pid: int) -> list[int]:
    """Pids of all processes below ``pid``."""
    direct = children(pid)
    return direct + [below for child in direct for below in descendants(child)]


def state(pid: int) -> str:
    """The kernel's state letter of ``pid``; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def is_zombie(pid: int) -> bool:
    """Whether ``pid`` has ended without being reaped."""
    return state(pid) == "Z"


def find_fault(pid: int, *, ended: bool = True) -> str | None:
    """A permanent fault below ``pid``: an unreaped dead process (if ``ended``), or one stopped by a signal (``T``;
    ``t`` is a debugger).

    ``pid`` is the guard process of tritonserver, whose children are the stubs. Children of a stub are its own matter.
    """
    servers = children(pid)
    if ended and any(is_zombie(one) for server in servers for one in (server, *children(server))):
        return "one of its processes ended"
    return "one of its processes is stopped" if "T" in map(state, descendants(pid)) else None


class Usage:
    """Usage of changing sets of processes. Only increases are added, so that an ended process does not reduce the
    total. Time spent between the last update and a process's end is missed."""

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}

    def update(self, pids: Iterable[int]) -> tuple[float, int]:
        """(CPU seconds since the last update, resident bytes) of ``pids``, without their children."""
        cpu_s, spent_s, resident = {}, 0.0, 0
        for pid in pids:
            found = _of(pid)
            if found is not None:
                cpu_s[pid], resident = found[0], resident + found[1]
                before = self._cpu_s.get(pid, 0.0)
                spent_s += found[0] - (before if before <= found[0] else 0.0)  # otherwise the pid was reused
        self._cpu_s = cpu_s
        return spent_s, resident


def _of(pid: int) -> tuple[float, int] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES


_own = Usage()


def measure_processes(role: str) -> None:
    """Record usage of this process, a ``role``, and all processes below it."""
    spent_s, resident = _own.update([os.getpid(), *descendants(os.getpid())])
    catalogue.PROCESS_CPU.add(spent_s, role)
    catalogue.PROCESS_MEMORY.set(resident, role)
