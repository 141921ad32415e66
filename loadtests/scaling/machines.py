"""Machines simulated on this one: network namespaces with addresses and a loopback of their own, on one virtual wire.

It needs root and ``ip`` (Debian's iproute2). What is told apart is the network: files and processors are shared, as a
site's machines share a database and an object store.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.vectorize.measure import ROOT

_CLONE_NEWNET = 0x40000000
"""Of <linux/sched.h>; Python has `os.setns` from 3.12 on."""
NETWORK = "10.203.{}"
"""Of this the first free one is taken."""


def missing() -> str:
    """Why machines cannot be simulated here; empty when they can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need Debian's package iproute2"
    name = f"probe-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"this machine allows no network namespaces: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@dataclass(frozen=True)
class Machine:
    namespace: str
    address: str
    wire: str

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """``command`` of Python on this machine, in a session of its own."""
        inside = ["ip", "netns", "exec", self.namespace, sys.executable, *command]
        return subprocess.Popen(inside, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True, **options)

    def run(self, program: Sequence[str], timeout_s: float = 60.0) -> str:
        inside = ["ip", "netns", "exec", self.namespace, *program]
        return subprocess.run(inside, check=True, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT).stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and the threads and processes that it starts meanwhile, are on this machine's network."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{self.namespace}") as there:
            _set_network(there.fileno())
            try:
                yield
            finally:
                _set_network(before.fileno())

    def pids(self, name: str = "") -> list[int]:
        """Of its processes, whose command holds ``name``."""
        found = []
        for pid in map(int, _ip("netns", "pids", self.namespace).split()):
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                    found.append(pid)
        return found

    def kill(self) -> None:
        """All at once, as when the power goes: nothing is told, nothing is closed by whoever had it."""
        self.unplug()
        self.end()

    def end(self) -> None:
        """Every process of it."""
        kill_all(self.pids)

    def unplug(self) -> None:
        _ip("-n", self.namespace, "link", "set", self.wire, "down")

    def plug(self) -> None:
        _ip("-n", self.namespace, "link", "set", self.wire, "up")
        _ip("-n", self.namespace, "route", "replace", "default", "dev", self.wire)


def kill_all(alive: Callable[[], Iterable[int]]) -> None:
    """The processes that ``alive`` names, and those that they start meanwhile, until there are none."""
    while pids := list(alive()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


@contextlib.contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """On one wire. Whatever runs on them when the block ends is killed."""
    tag = uuid.uuid4().hex[:6]
    network = NETWORK.format(int(tag[:2], 16))
    pair = tuple(Machine(f"atelier-{tag}-{n}", f"{network}.{n}", f"at{tag}{n}") for n in (1, 2))
    made: list[Machine] = []
    try:
        for machine in pair:
            _ip("netns", "add", machine.namespace)
            made.append(machine)
        first, second = pair
        wires = ["name", first.wire, "netns", first.namespace, "type", "veth"]
        _ip("link", "add", *wires, "peer", "name", second.wire, "netns", second.namespace)
        for machine in pair:
            _ip("-n", machine.namespace, "link", "set", "lo", "up")
            _ip("-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", machine.wire)
            machine.plug()
        yield first, second
    finally:
        for machine in made:
            machine.end()
            _ip("netns", "del", machine.namespace)


def _set_network(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "the network namespace could not be entered")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=10)
    return done.stdout
