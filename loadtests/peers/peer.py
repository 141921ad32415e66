"""A peer of the comparison: a server that is started for its turn alone, and the ways to call it."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import psutil

from loadtests.load.memory import kind_of
from loadtests.peers.closed_loop import Check, Samples, run_closed_loop

WARM_S = 1.0

Call = Callable[[int, float, Samples], int]
"""Calls for so many seconds with so many callers, adds to the samples, and returns the number of answers."""


@dataclass(frozen=True)
class Server:
    """A running server. ``pid``: the root of its processes; ``ways``: how it is called, by the row's title."""

    pid: int
    ways: Mapping[str, Call]


Peer = Callable[[], contextlib.AbstractContextManager[Server]]
"""Starts a server, which ends with the block."""


def over_http(address: str, requests: Iterator[bytes], check: Check) -> Call:
    """Prepared bytes over raw sockets."""

    def call(callers: int, seconds: float, samples: Samples) -> int:
        return run_closed_loop(address, requests, check, callers, seconds, samples)

    return call


def measure_turn(server: Server, callers: int, seconds: float, samples: Mapping[str, Samples]) -> None:
    """Calls ``server`` in each of its ways, after a warm-up that does not count."""
    for title, call in server.ways.items():
        call(callers, min(seconds, WARM_S), Samples())
        gc.collect()
        before = cpu_seconds(server.pid)
        count = call(callers, seconds, samples[title])
        after = cpu_seconds(server.pid)
        if count:
            for kind, spent_s in after.items():
                each = 1e3 * (spent_s - before.get(kind, 0.0)) / count
                samples[title].cpu_ms.setdefault(kind, []).append(each)


def cpu_seconds(pid: int) -> dict[str, float]:
    """Processor time of the tree below ``pid`` by kind of process; of the stack's replicas by name."""
    spent: dict[str, float] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                kind = role_of(process.cmdline())
                spent[kind] = spent.get(kind, 0.0) + times.user + times.system
    return spent


def role_of(command: list[str]) -> str:
    line = " ".join(command)
    for name in ("Gateway", "Vectorizer", "Illustrator", "Worker"):
        if f"ServeReplica:atelier:{name}" in line:
            return name
    return kind_of(command)


@dataclass(frozen=True)
class Idle:
    """A stack without requests."""

    cpu_share: Mapping[str, float]
    """Share of one core by kind of process."""
    pss_bytes: int
    processes: int


def measure_idle(pid: int, seconds: float) -> Idle:
    from loadtests.load.memory import pss_bytes

    before, began = cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    after, wall_s = cpu_seconds(pid), time.perf_counter() - began
    root = psutil.Process(pid)
    shares = {kind: (spent_s - before.get(kind, 0.0)) / wall_s for kind, spent_s in after.items()}
    return Idle(shares, sum(pss_bytes([pid]).values()), 1 + len(root.children(recursive=True)))
