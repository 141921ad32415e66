"""One stack on two simulated machines: the first has Ray's head and the door, the second joins it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.queue.postgresql import PostgreSQL
from loadtests.scaling.machines import Machine, two_machines
from loadtests.scaling.sleeping import write_sleeping_family

START_TIMEOUT_S = 180.0
STEP_S, ROWS = 0.1, 4
METRICS_PORT = 9102
ASKS = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
JOIN = "serve.cli.main join"
REPLICA = "ray::ServeReplica:atelier:"
DEPLOYMENTS = ("Gateway", "Vectorizer", "Illustrator", "Worker")


@dataclass(frozen=True)
class Site:
    first: Machine
    second: Machine
    folder: Path
    values: dict[str, Any]
    database: PostgreSQL

    def replicas(self, deployment: str) -> tuple[int, int]:
        """On the first machine, and on the second."""
        name = f"{REPLICA}{deployment}"
        return len(self.first.pids(name)), len(self.second.pids(name))

    def door(self, machine: Machine) -> str:
        return f"http://{machine.address}:8000"

    def answers(self, machine: Machine) -> bool:
        """Whether it is ready, by the door of ``machine``."""
        with contextlib.suppress(subprocess.SubprocessError):
            machine.run([sys.executable, "-I", "-c", ASKS, f"{self.door(machine)}/health/ready"])
            return True
        return False

    def targets(self) -> dict[str, list[str]]:
        """What Prometheus is told to ask, as HOST:PORT by job; nothing until it is told."""
        path = self.folder / self.first.address.rpartition(".")[2] / "metrics-8000.json"
        with contextlib.suppress(FileNotFoundError):
            return {one["labels"]["job"]: one["targets"] for one in json.loads(path.read_text())}
        return {}

    def start(self, machine: Machine, *command: str) -> subprocess.Popen[bytes]:
        """`atelier` on ``machine``, with folders of its own and the settings of both."""
        own = self.folder / machine.address.rpartition(".")[2]  # short: Ray's sockets are in it
        environment = {**os.environ, "ATELIER_STATE_DIR": str(own), "ATELIER_RAY__TEMP_DIR": str(own / "ray")}
        line = ["-m", "serve.cli.main", *command, "--config", str(self.folder / "settings.yaml")]
        with self._log(machine).open("ab") as log:
            return machine.popen(line, env=environment, stdout=log, stderr=log)

    def _log(self, machine: Machine) -> Path:
        return self.folder / f"{machine.address}.log"

    def log(self, machine: Machine) -> str:
        """What `atelier` said on ``machine``."""
        return self._log(machine).read_text(errors="replace")

    def whole(self) -> None:
        """Waits until each machine has a replica of everything. The second one joins, again if need be, as with a
        service manager."""
        self.second.plug()
        joining: subprocess.Popen[bytes] | None = None

        def is_whole() -> bool:
            nonlocal joining
            if not self.second.pids(JOIN) and (joining is None or joining.poll() is not None):
                self.second.end()
                joining = self.start(self.second, "join", f"{self.first.address}:6379")
            spread = all(counts == (1, 1) for counts in map(self.replicas, DEPLOYMENTS))
            return spread and self.answers(self.first) and self.answers(self.second)

        self.wait(is_whole)

    def wait(self, there: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
        """Until ``there``, for START_TIMEOUT_S at the most, or until ``process`` ends."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not there():
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
                raise TimeoutError(f"the stack was not there within {START_TIMEOUT_S:g} s:\n{logs}")
            time.sleep(0.5)


def settings(folder: Path, database: str) -> dict[str, Any]:
    """Two replicas of everything, one to a machine, and no more than the drawing of small pictures."""
    one_each = {"autoscaling": {"max_per_machine": 1}}
    twice = {"min_replicas": 2, "max_replicas": 2, "num_cpus": 0.1, **one_each}
    return {
        "http": {"host": "0.0.0.0", "port": 8000},
        "grpc": {"port": 9000},
        "access": {"required": "off", "insecure": True},
        "ray": {"host": "node", "num_cpus": 2, "leave_s": 25, "metrics_port": METRICS_PORT},
        "proxy": {"token": secrets.token_hex(16)},
        "secrets": {"keys": [secrets.token_hex(32)]},
        "dashboard": {"enabled": False},
        "rates": {"per_address": False},
        "gateway": twice,
        "vectorizer": {**twice, "workers": 1},
        "illustrator": {**twice, "model_repository": str(folder / "models")},
        "jobs": {"workers": 2, "beat_s": 0.5, "lease_s": 3, **one_each},
        "database": {"url": database},
        "objects": {"url": f"file://{folder}/objects"},
        "state_dir": str(folder / "state"),
    }


@contextlib.contextmanager
def running(change: Callable[[dict[str, Any]], None] = lambda _: None) -> Iterator[Site]:
    """Ready, with a replica of everything on each machine. ``change`` alters the settings before."""
    with (
        tempfile.TemporaryDirectory(prefix="at-") as name,
        PostgreSQL.started() as database,
        two_machines() as (first, second),
    ):
        folder = Path(name)
        write_sleeping_family(folder / "models", STEP_S, ROWS)
        values = settings(folder, database.new_database())
        change(values)
        (folder / "settings.yaml").write_text(yaml.safe_dump(values))
        site = Site(first, second, folder, values, database)
        head = site.start(first, "up")
        try:
            site.wait(lambda: bool(first.pids("gcs_server")), head)
            site.whole()
            yield site
        finally:
            head.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                head.wait(60)
