"""A server that speaks S3, for tests and chaos: moto's, in a process that can be stopped and frozen."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from serve.settings import ObjectsSettings

SECRET = "correct-horse-battery-staple"


@dataclass
class S3Server:
    """On a port of loopback. What it keeps is in its memory: a new start begins with nothing."""

    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[S3Server]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = cls(probe.getsockname()[1])
        try:
            server.start()
            yield server
        finally:
            server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "moto's server did not start"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                return
            time.sleep(0.02)
        raise AssertionError("moto's server does not answer")

    def stop(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It is there, and does not answer; `thaw` ends that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

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
