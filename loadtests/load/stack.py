"""A whole stack for one measurement: `atelier up` on free ports, ended with the block."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.vectorize.measure import ROOT
from serve.cluster.http_client import StackClient
from serve.cluster.stack import targets_file
from serve.errors import EngineUnavailable
from serve.settings import load

START_TIMEOUT_S = 240.0
_PORTS = (20_000, 32_000)
"""Below those that Linux gives to connections."""
STOP_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Started:
    """``pid`` is the root of all of the stack's processes, ``targets`` the file that says where its metrics are."""

    pid: int
    url: str
    grpc: str
    targets: Path


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing uses now, and that the kernel gives to no connection meanwhile."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def settings(folder: Path) -> dict[str, Any]:
    """What differs from the defaults: every port, the state folder, no dashboard page."""
    http, grpc, metrics, statistics, fallback_http, fallback_grpc = free_ports(6)
    proxy = {
        "metrics_port": metrics,
        "stats_port": statistics,
        "fallback_http_port": fallback_http,
        "fallback_grpc_port": fallback_grpc,
    }
    dashboard = {"enabled": False}
    return {
        "http": {"port": http},
        "grpc": {"port": grpc},
        "proxy": proxy,
        "dashboard": dashboard,
        "state_dir": str(folder),
    }


@contextlib.contextmanager
def running(differing: Mapping[str, Any] | None = None) -> Iterator[Started]:
    """A stack with ``differing`` settings, by section.

    Raises ``EngineUnavailable`` with the end of the stack's log when it does not become ready.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = settings(folder) | dict(differing or {})
        (folder / "settings.yaml").write_text(yaml.safe_dump(values))
        log = folder / "stack.log"
        command = [sys.executable, "-m", "serve.cli.main", "up", "--config", str(folder / "settings.yaml")]
        with log.open("wb") as output:
            child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        http, grpc = values["http"]["port"], values["grpc"]["port"]
        targets = targets_file(load(**values))
        started = Started(child.pid, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", targets)
        try:
            _wait_ready(started, child, log)
            yield started
        finally:
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_ready(started: Started, child: subprocess.Popen[bytes], log: Path) -> None:
    client = StackClient(started.url)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(EngineUnavailable):
            if client.ready()[0]:
                return
        time.sleep(0.1)
    raise EngineUnavailable("the stack did not start; its log ends:\n" + log.read_text(errors="replace")[-3000:])
