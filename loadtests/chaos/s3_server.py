"""A server that speaks S3, for tests and chaos: moto's, in a process that can be stopped and frozen."""

from __future__ import annotations

import contextlib
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from loadtests.child_server import ChildServer
from loadtests.load.stack import free_ports
from serve.settings import ObjectsSettings

SECRET = "correct-horse-battery-staple"


@dataclass
class S3Server(ChildServer):
    """On a port of loopback. What it keeps is in its memory: a new start begins with nothing."""

    name = "moto's server"
    start_s = 30.0
    port: int

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[S3Server]:
        server = cls(*free_ports(1))
        try:
            server.start()
            yield server
        finally:
            server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def reach(self) -> None:
        urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()

    def make_bucket(self, name: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=10):
            pass

    def new_store(self, timeout_s: float = 10.0) -> ObjectsSettings:
        """Settings of an empty bucket."""
        bucket = f"atelier-{uuid.uuid4().hex}"
        self.make_bucket(bucket)
        options = {
            "endpoint": self.url,
            "access_key_id": "tests",
            "secret_access_key": SECRET,
            "region": "us-east-1",
            "allow_http": "true",
        }
        return ObjectsSettings(
            url=f"s3://{bucket}/below",
            options={name: SecretStr(value) for name, value in options.items()},
            timeout_s=timeout_s,
        )
