"""Processes below this one, from ``/proc``: their state, CPU time and memory."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable

from serve.observability.metrics import catalogue

_TICKS = os.sysconf("SC_CLK_TCK")
LIST_INTERVAL_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Pids of the child processes of ``pid``, over all its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            if listing := _read(f"/proc/{pid}/task/{thread}/children"):
                found.extend(map(int, listing.split()))
    return found


def _read(path: str) -> bytes:
    """The content of a small file; empty if the thread or process has ended. A tritonserver has a hundred threads, for
    which `pathlib` takes most of the time."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def descendants(pid: int) -> list[int]:
    """Pids of all processes below ``pid``."""
    direct = children(pid)
    return direct + [below for child in direct for below in descendants(child)]


def state(pid: int) -> str:
    """The kernel's state letter of ``pid``; empty if it is gone."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[0].decode() if fields else ""


def is_zombie(pid: int) -> bool:
    """Whether ``pid`` has ended without being reaped."""
    return state(pid) == "Z"


def find_fault(pid: int, *, ended: bool = True) -> str | None:
    """A permanent fault below ``pid``: an unreaped dead process (if ``ended``), or one stopped by a signal (``T``;
    ``t`` is a debugger).

    ``pid`` is the guard process of tritonserver, whose children are the stubs. Children of a stub are its own matter.
    """
    return FaultFinder(pid).find(ended=ended)


class FaultFinder:
    """`find_fault`, repeatedly: the tree of processes is listed only every LIST_INTERVAL_S."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._below: list[int] = []
        self._own: set[int] = set()
        """The servers and their stubs."""
        self._listed_at = -math.inf

    def find(self, *, ended: bool = True) -> str | None:
        if time.monotonic() >= self._listed_at + LIST_INTERVAL_S:
            self._list()
        states = {pid: state(pid) for pid in self._below}
        if "" in states.values():  # one is gone: others may have come
            self._list()
            states = {pid: state(pid) for pid in self._below}
        if ended and any(states[pid] == "Z" for pid in self._own):
            return "one of its processes ended"
        return "one of its processes is stopped" if "T" in states.values() else None

    def _list(self) -> None:
        servers = children(self.pid)
        stubs = [stub for server in servers for stub in children(server)]
        self._own = {*servers, *stubs}
        self._below = [*servers, *stubs, *(below for stub in stubs for below in descendants(stub))]
        self._listed_at = time.monotonic()


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
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if not fields:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES


_own = Usage()


def measure_processes(role: str) -> None:
    """Record usage of this process, a ``role``, and all processes below it."""
    spent_s, resident = _own.update([os.getpid(), *descendants(os.getpid())])
    catalogue.PROCESS_CPU.add(spent_s, role)
    catalogue.PROCESS_MEMORY.set(resident, role)
