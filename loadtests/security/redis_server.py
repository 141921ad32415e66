"""A Redis server of one's own, from Debian's package, for tests and measurements."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.child_server import ChildServer

BINARY = "redis-server"


@dataclass
class RedisServer(ChildServer):
    """Listens on a socket in ``folder`` alone, and keeps nothing on disk."""

    name = "Redis"
    folder: Path

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

    def command(self) -> list[str]:
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        return [BINARY, *options, "--dir", str(self.folder)]

    def reach(self) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket))

    def stop(self) -> None:
        super().stop()
        self._socket.unlink(missing_ok=True)
