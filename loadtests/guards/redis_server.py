"""A Redis server of one's own, from Debian's package, for tests and measurements."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BINARY = "redis-server"
_START_S = 10.0


@dataclass
class RedisServer:
    """Listens on a socket in ``folder`` alone, and keeps nothing on disk."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[RedisServer]:
        """Raises AssertionError that says what to install."""
        assert shutil.which(BINARY), "run `make redis` first: it installs Debian's package"
        folder = Path(tempfile.mkdtemp(prefix="atelier-redis-", dir="/tmp"))  # the path of a socket has to be short
        server = cls(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def _socket(self) -> Path:
        return self.folder / "redis.sock"

    def start(self) -> None:
        """Empty."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [BINARY, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder
        )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self._socket))
                return
            time.sleep(0.02)
        raise AssertionError("Redis did not start")

    def stop(self) -> None:
        """At once; what it had is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self._socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """It is there, and does not answer; `thaw` ends that."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
