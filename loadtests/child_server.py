"""A server in a process of its own that can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import ClassVar


class ChildServer:
    """Who derives from it says by which command the server starts, and how it is reached."""

    name: ClassVar[str]
    start_s: ClassVar[float] = 10.0
    process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def reach(self) -> None:
        """Raises OSError as long as it is not there."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns once it is reached. Raises AssertionError when it is not within ``start_s``."""
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + self.start_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"{self.name} did not start"
            with contextlib.suppress(OSError):
                self.reach()
                return
            time.sleep(0.02)
        raise AssertionError(f"{self.name} does not answer")

    def stop(self) -> None:
        """At once: connections are cut, and what it had in its memory is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It is there, and does not answer; `thaw` ends that."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
