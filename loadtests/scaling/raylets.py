"""One stack on two raylets of this machine: what two machines can be shown to do without root.

Both have the address 127.0.0.1. `atelier join` is for another machine: it refuses loopback, and the HAProxy that it
brings would listen on the ports of the first one's. So Ray itself starts the second raylet, with the stack's settings
and all but the doors, which are the first one's: ``python -m loadtests.scaling.raylets GCS``.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.load.stack import settings as own_ports
from loadtests.scaling.machines import kill_all
from loadtests.scaling.site import REPLICA, ROWS, START_TIMEOUT_S, STEP_S
from loadtests.scaling.sleeping import write_sleeping_family
from loadtests.vectorize.measure import ROOT
from serve.cluster import ray_environment
from serve.cluster.http_client import StackClient
from serve.errors import EngineUnavailable
from serve.settings import load

DEPLOYMENTS = ("Gateway", "Illustrator", "Worker")
"""Of which each raylet has one."""
MARK = "SIMULATED_RAYLET"
"""Variable that every process of a raylet inherits; settings are kept from those that have no use for them."""
OBJECT_STORE_BYTES = 80 * 1024 * 1024
_GCS = re.compile(r"--gcs-address=(127\.0\.0\.1:\d+)")


@dataclass(frozen=True)
class Raylet:
    mark: str

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """``command`` of Python as one of its processes, in a session of its own."""
        environment = {**os.environ, **options.pop("env", {}), MARK: self.mark}
        inside = [sys.executable, *command]
        return subprocess.Popen(
            inside, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True, env=environment, **options
        )

    def commands(self) -> dict[int, str]:
        """Of its processes, by pid."""
        found, mark = {}, f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def kill(self) -> None:
        """Every process of it, at once."""
        kill_all(self.commands)


@dataclass(frozen=True)
class Pair:
    first: Raylet
    second: Raylet
    folder: Path
    values: dict[str, Any]

    def replicas(self, deployment: str) -> tuple[int, int]:
        """On the first raylet, and on the second."""
        name = f"{REPLICA}{deployment}"
        one, two = ([c.startswith(name) for c in raylet.commands().values()] for raylet in (self.first, self.second))
        return sum(one), sum(two)

    def is_whole(self) -> bool:
        with contextlib.suppress(EngineUnavailable):
            ready, _ = StackClient(f"http://127.0.0.1:{self.values['http']['port']}").ready()
            return ready and all(counts == (1, 1) for counts in map(self.replicas, DEPLOYMENTS))
        return False

    def gcs(self) -> str | None:
        """Where the second raylet joins."""
        return next((found[1] for command in self.first.commands().values() if (found := _GCS.search(command))), None)

    def wait(self, there: Callable[[], object], *processes: subprocess.Popen[Any]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not there():
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
                raise TimeoutError(f"the stack was not there within {START_TIMEOUT_S:g} s:\n{logs}")
            time.sleep(0.5)

    def start(self, raylet: Raylet, *command: str) -> subprocess.Popen[Any]:
        environment = {"ATELIER_CONFIG": str(self.folder / "settings.yaml")}
        with (self.folder / f"{raylet.mark}.log").open("wb") as log:
            return raylet.popen(command, env=environment, stdout=log, stderr=log)


def settings(folder: Path) -> dict[str, Any]:
    one_each = {"autoscaling": {"max_per_machine": 1}}
    twice = {"min_replicas": 2, "max_replicas": 2, "num_cpus": 0.1, **one_each}
    return own_ports(folder) | {
        "ray": {"num_cpus": 2},
        "proxy": own_ports(folder)["proxy"] | {"token": secrets.token_hex(16)},
        "rates": {"per_address": False},
        "cache": {"enabled": False},
        "gateway": twice,
        "vectorizer": {"workers": 1, "num_cpus": 0.1},
        "illustrator": {**twice, "model_repository": str(folder / "models")},
        "jobs": {"workers": 2, "beat_s": 0.5, "lease_s": 3, **one_each},
    }


@contextlib.contextmanager
def running() -> Iterator[Pair]:
    """Ready, with a replica of each of DEPLOYMENTS on each raylet."""
    with tempfile.TemporaryDirectory(prefix="at-") as name:
        folder, tag = Path(name), uuid.uuid4().hex[:6]
        write_sleeping_family(folder / "models", STEP_S, ROWS)
        values = settings(folder)
        (folder / "settings.yaml").write_text(yaml.safe_dump(values))
        pair = Pair(Raylet(f"{tag}-1"), Raylet(f"{tag}-2"), folder, values)
        head = pair.start(pair.first, "-m", "serve.cli.main", "up")
        try:
            pair.wait(pair.gcs, head)
            second = pair.start(pair.second, "-m", "loadtests.scaling.raylets", str(pair.gcs()))
            pair.wait(pair.is_whole, head, second)
            yield pair
        finally:
            pair.second.kill()
            head.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                head.wait(60)
            pair.first.kill()


def main() -> None:
    """As `ray.cluster_utils` does it: `ray start` wants no second raylet where the first one keeps to loopback."""
    ray_environment.apply(load())
    os.environ["RAY_AUTH_MODE"] = "token"  # what `ray.init` does by itself
    from ray._private.node import Node  # after its environment is set
    from ray._private.parameter import RayParams

    environment = RayParams(
        gcs_address=sys.argv[1],
        node_ip_address="127.0.0.1",
        num_cpus=2,
        object_store_memory=OBJECT_STORE_BYTES,
        # Any ports that are free: those that Ray would choose are the first raylet's.
        node_manager_port=0,
        min_worker_port=0,
        max_worker_port=0,
    )
    environment.dashboard_agent_listen_port = None
    Node(environment, head=False, shutdown_at_exit=True, spawn_reaper=False)
    signal.pause()


if __name__ == "__main__":
    main()
