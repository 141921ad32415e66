"""A whole site for one run: the stack, and the servers or the small disk that it stands on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from loadtests.chaos.endpoint import Endpoint
from loadtests.chaos.s3_server import S3Server
from loadtests.load.stack import START_TIMEOUT_S, STOP_TIMEOUT_S, settings
from loadtests.queue.postgresql import PostgreSQL
from loadtests.security.redis_server import RedisServer
from loadtests.vectorize.measure import ROOT
from serve.cluster.http_client import StackClient
from serve.errors import EngineUnavailable

MARK = "CHAOS_SITE"
"""Variable that every process of a stack inherits."""
DISK_BYTES = 96 * 1024 * 1024

SERVERS = "PostgreSQL, Redis, S3"
DISK = "SQLite and a folder on a small disk"


@dataclass
class Site:
    """``kind`` is ``SERVERS`` or ``DISK``; what the other kind has is None."""

    kind: str
    folder: Path
    values: dict[str, Any]
    database: PostgreSQL | None = None
    redis: RedisServer | None = None
    objects: S3Server | None = None
    endpoint: Endpoint | None = None
    disk: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.values['http']['port']}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.values['grpc']['port']}"

    def up(self) -> None:
        """Raises EngineUnavailable with the end of the stack's log when it does not become ready."""
        file = self.folder / "settings.yaml"
        file.write_text(yaml.safe_dump(self.values))
        log = self.folder / "stack.log"
        command = [sys.executable, "-m", "serve.cli.main", "up", "--config", str(file)]
        environment = {**os.environ, MARK: str(self.folder)}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.is_ready():
                return
            time.sleep(0.5)
        self.down()
        end = log.read_text(errors="replace")[-3000:]
        raise EngineUnavailable(f"the stack did not start; its log ends:\n{end}")

    def down(self) -> None:
        """In order, and what is left of it (a frozen process heeds no order) at once."""
        process, self._process = self._process, None
        if process is None:
            return
        for one in self.processes():  # an order reaches who runs
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        for one in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()

    def is_ready(self) -> bool:
        with contextlib.suppress(EngineUnavailable):
            return StackClient(self.url).ready()[0]
        return False

    def processes(self) -> list[psutil.Process]:
        """All of the stack's, and nobody else's: they inherit its mark."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get(MARK) == str(self.folder):
                    found.append(one)
        return found

    def of(self, kind: str) -> list[psutil.Process]:
        """Those whose command is ``kind`` (the name of its program, or the beginning of Ray's title), oldest first."""
        found = []
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                command = one.cmdline()
                if command and (Path(command[0]).name == kind or command[0].startswith(kind)):
                    found.append(one)
        return sorted(found, key=lambda one: one.create_time())

    def errors(self) -> list[str]:
        """What its processes logged as errors, in the order of time."""
        lines = [
            line for file in self.folder.glob("logs/*.log") for line in file.read_text(errors="replace").splitlines()
        ]
        return sorted(
            (line for line in lines if line.startswith("ERROR ")), key=lambda line: line.split(maxsplit=2)[1:2]
        )


def missing(kind: str) -> str:
    """Why there can be no site of ``kind`` here; empty when there can."""
    if kind != DISK:
        return ""
    with tempfile.TemporaryDirectory(prefix="atelier-chaos-") as name:
        mounted = subprocess.run(mount(Path(name)), capture_output=True, text=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", name], check=True)
            return ""
    return f"nothing may be mounted ({mounted.stderr.splitlines()[0]})"


def mount(disk: Path) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "atelier-chaos", str(disk)]


@contextlib.contextmanager
def site(kind: str, replicas: int) -> Iterator[Site]:
    """Its stack is up. ``replicas`` of each deployment."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="atelier-chaos-")))
        built = _on_servers(held, folder) if kind == SERVERS else _on_disk(held, folder)
        built.values |= _stack(replicas)
        held.callback(built.down)
        built.up()
        yield built


def _stack(replicas: int) -> dict[str, Any]:
    """What differs from the defaults beside ports and places."""
    many = {"min_replicas": replicas, "max_replicas": replicas}
    return {
        "gateway": many,
        "vectorizer": {**many, "workers": 1},
        "illustrator": {**many, "families": ["mini"]},
        "jobs": {"workers": replicas},
        "cache": {"enabled": False},
        "ray": {"num_cpus": 2 + 2 * replicas},
    }


def _on_servers(held: contextlib.ExitStack, folder: Path) -> Site:
    database = held.enter_context(PostgreSQL.started())
    redis = held.enter_context(RedisServer.started())
    objects = held.enter_context(S3Server.started())
    endpoint = held.enter_context(Endpoint.started(folder, objects.port))
    store = objects.new_store()
    values = settings(folder) | {
        "database": {"url": database.new_database()},
        "rates": {"redis_url": redis.url, "loopback": True, "address_requests": 1_000_000},
        "objects": {
            "url": store.url,
            "options": {name: value.get_secret_value() for name, value in store.options.items()}
            | {"endpoint": endpoint.url},
        },
    }
    return Site(SERVERS, folder, values, database, redis, objects, endpoint)


def _on_disk(held: contextlib.ExitStack, folder: Path) -> Site:
    """Needs the right to mount: see ``missing``."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(mount(disk), check=True)
    held.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
    values = settings(folder) | {"state_dir": str(disk)}
    return Site(DISK, folder, values, disk=disk)
