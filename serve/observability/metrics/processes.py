"""What processes take of the machine, as ``/proc`` tells."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from serve.observability.metrics import catalogue
from serve.observability.metrics.proc import descendants

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Of processes that come and go: what each has spent since the last look is added up, so that no end of one takes
    anything away again. What one spends between the last look and its end is not seen."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def update(self, pids: Iterable[int]) -> tuple[float, int]:
        """(processor seconds since the last look, resident bytes now) of ``pids`` alone, without what is below them."""
        seen, spent_s, resident = {}, 0.0, 0
        for pid in pids:
            found = _of(pid)
            if found is not None:
                seen[pid], resident = found[0], resident + found[1]
                before = self._seen.get(pid, 0.0)
                spent_s += found[0] - (before if before <= found[0] else 0.0)  # else the number was given again
        self._seen = seen
        return spent_s, resident


def _of(pid: int) -> tuple[float, int] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES


_own = Usage()


def measure_processes(role: str) -> None:
    """Of this process, which is a ``role``, and all below it."""
    spent_s, resident = _own.update([os.getpid(), *descendants(os.getpid())])
    catalogue.PROCESS_CPU.add(spent_s, role)
    catalogue.PROCESS_MEMORY.set(resident, role)
