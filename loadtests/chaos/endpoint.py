"""Where the object store is reached: a HAProxy before moto's server, which keeps all it has in its own memory.

To kill the store would lose what it holds, which no store of a site does; to kill this shows what its clients see.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.child_server import ChildServer
from loadtests.load.stack import free_ports
from serve.cluster.ray_environment import haproxy_binary

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
class Endpoint(ChildServer):
    name = "the endpoint of the object store"
    config: Path
    port: int

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

    def command(self) -> list[str]:
        return [str(haproxy_binary()), "-db", "-f", str(self.config)]

    def reach(self) -> None:
        socket.create_connection(("127.0.0.1", self.port), 1).close()
