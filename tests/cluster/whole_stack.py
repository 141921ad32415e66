"""A handle on the stack that the tests run against."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PORTS = (
    "HTTP__PORT",
    "GRPC__PORT",
    "DASHBOARD__PORT",
    "PROXY__METRICS_PORT",
    "PROXY__STATS_PORT",
    "PROXY__FALLBACK_HTTP_PORT",
    "PROXY__FALLBACK_GRPC_PORT",
)

ANEW = {"Cache-Control": "no-cache"}
"""What a test sends that wants work done, and not an answer from before."""

BODY_TIMEOUT_S = 10
"""Shorter than the default: a test waits for its end."""

MARK = "WHOLE_STACK"
"""Variable that every process of a stack inherits; settings are kept from those that have no use for them."""


def kill(pids: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
    there = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it ended with its parent, which came before it
            os.kill(pid, number)
            there += 1
    assert there


@dataclass(frozen=True)
class Stack:
    """``folder``: where its commands run; None: the tests' own working directory."""

    http: str
    grpc: str
    dashboard: str
    environment: dict[str, str]
    folder: Path | None = field(default=None, kw_only=True)

    def pids(self, name: str = "") -> list[int]:
        """Processes of this stack only (they inherit its environment) whose command contains ``name``."""
        mark = f"{MARK}={self.environment[MARK]}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                ours = folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0")
                if ours and name.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def temporary_folders(self) -> set[Path]:
        """The private folder of this stack's Ray processes."""
        variables = (Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in self.pids("ray::"))
        named = {variable.decode().removeprefix("TMPDIR=") for some in variables for variable in some}
        return {Path(name) for name in named if name.startswith("/tmp/atelier-")}

    def atelier(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serve.cli.main", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )
