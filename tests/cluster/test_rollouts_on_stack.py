"""A stack of its own: an engine's version and the code are replaced while requests go on, and none fails."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
import yaml
from onnx import numpy_helper
from pictures import drawn, encode
from whole_stack import ANEW, MARK, PORTS, Stack

from loadtests.load.stack import free_ports
from serve.app import Spare, spare_for
from serve.errors import EngineUnavailable
from serve.settings import Settings

HOME = Path(__file__).parents[2]
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def second_version(repository: Path) -> None:
    """Of ``tier1``: the same network, its last weights a little smaller; and a third whose file is not what it says."""
    folder = repository / "tier1"
    network = onnx.load(folder / "1" / "model.onnx")
    weights = next(one for one in reversed(network.graph.initializer) if len(one.dims) == 2)
    smaller = (numpy_helper.to_array(weights) * 0.9).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(smaller, weights.name))
    for version in ("2", "3"):
        (folder / version).mkdir()
        onnx.save(network, folder / version / "model.onnx")
        manifest = json.loads((folder / "manifest.json").read_text()) | {"version": f"{version}.0"}
        if version == "2":
            manifest["sha256"] = hashlib.sha256((folder / version / "model.onnx").read_bytes()).hexdigest()
        (folder / version / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stack, with its settings in ``site.yaml``."""
    folder = tmp_path_factory.mktemp("rollouts")
    shutil.copytree(HOME / "model_repository", folder / "repository", ignore=shutil.ignore_patterns("mini_*"))
    second_version(folder / "repository")
    write_settings(folder, 45)
    return folder


def write_settings(folder: Path, timeout_s: float) -> None:
    repository = str(folder / "repository")
    settings = {
        "state_dir": str(folder),
        "vectorizer": {"model_repository": repository, "workers": 1, "timeout_s": timeout_s},
        "illustrator": {"model_repository": repository},
        "cache": {"max_bytes": 0},
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def stack(site: Path) -> Iterator[Stack]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    environment = {**os.environ, **{f"ATELIER_{name}": str(port) for name, port in ports.items()}, MARK: str(site)}
    addresses = [f"127.0.0.1:{ports[name]}" for name in PORTS[:3]]
    running = Stack(*addresses, environment)
    started = running.atelier("up", "--detach", "--config", str(site / "site.yaml"))
    assert started.returncode == 0, started.stderr
    yield running
    running.atelier("down", "--config", str(site / "site.yaml"))


@dataclass
class Load:
    """``answers``: when a request began, and the version of ``tier1`` that it had."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def versions_since(self, moment: float) -> set[str]:
        return {version for at, version in self.answers if at >= moment}

    def wait_for(self, version: str, timeout_s: float = 60.0) -> None:
        """Until a request has had it: how long a request takes depends on the machine."""
        began = time.monotonic()
        while version not in self.versions_since(began):
            assert time.monotonic() < began + timeout_s, f"no answer of {version}"
            time.sleep(0.1)


@contextmanager
def under_load(stack: Stack) -> Iterator[Load]:
    """Two callers that ask for small drawings, each time a new one, and take no failure for an answer."""
    load, ended = Load(), threading.Event()

    def ask(caller: int) -> None:
        with httpx.Client(base_url=f"http://{stack.http}", timeout=60) as client:
            count = 0
            while not ended.is_set():
                count += 1
                picture = encode(drawn(size=24 + (2 * count + caller) % 40))
                files = {"image": ("a.png", picture, "image/png")}
                began = time.monotonic()
                try:
                    answer = client.post("/api/convert-ai", files=files, data={"tier": "1"}, headers=ANEW)
                except httpx.HTTPError as error:
                    load.errors.append(f"{type(error).__name__}: {error}")
                    time.sleep(0.1)
                    continue
                if answer.status_code != 200:
                    load.errors.append(f"{answer.status_code}: {answer.text[:300]}")
                    continue
                load.answers.append((began, answer.json()["model_info"]["versions"]["tier1"]))

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(2)]
    for caller in callers:
        caller.start()
    try:
        yield load
    finally:
        ended.set()
        for caller in callers:
            caller.join(120)
            assert not caller.is_alive()


def models(stack: Stack, site: Path, *arguments: str) -> tuple[int, str]:
    done = stack.atelier("models", *arguments, "--config", str(site / "site.yaml"))
    return done.returncode, done.stdout + done.stderr


def test_a_connection_that_breaks_is_seen() -> None:
    with under_load(Stack("127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9", {})) as load:
        deadline = time.monotonic() + 20
        while not load.errors and time.monotonic() < deadline:
            time.sleep(0.1)
    assert set(load.errors) == {"ConnectError: [Errno 111] Connection refused"}


def test_promote_and_roll_back_under_load(stack: Stack, site: Path) -> None:
    """D-083, D-091: `atelier models` on a running stack; no request fails, and the old version is back within 5 s."""
    with under_load(stack) as load:
        code, told = models(stack, site, "promote", "tier1", "3")
        assert (code, "checksum" in told) == (2, True), told
        code, told = models(stack, site, "promote", "tier1", "2")
        assert code == 0, told
        load.wait_for("2.0")
        code, told = models(stack, site, "rollback", "tier1")
        rolled_back = time.monotonic()
        assert code == 0, told
        time.sleep(5)
        load.wait_for("1.3")
    assert load.errors == []
    assert load.versions_since(rolled_back + 5) == {"1.3"}
    code, told = models(stack, site, "list", "--json")
    roles = {(one["version"], one["role"]) for one in json.loads(told) if one["engine"] == "tier1"}
    assert roles == {("1", "current"), ("2", "candidate"), ("3", "there")}


def by_native_door(stack: Stack) -> str:
    files = {"image": ("a.png", encode(drawn()), "image/png")}
    answer = httpx.post(
        f"http://{stack.http}/api/convert-ai", files=files, data={"tier": "1"}, headers=ANEW, timeout=60
    )
    return str(answer.json()["model_info"]["versions"]["tier1"])


def by_open_inference(stack: Stack) -> str:
    image = over_http.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([encode(drawn())], object))
    with over_http.InferenceServerClient(stack.http, network_timeout=60) as client:
        answer = client.infer("vectorize", [image], parameters={"tier": "1"})
    return str(json.loads(answer.get_response()["parameters"]["model_versions"])["tier1"])


def by_grpc(stack: Stack) -> str:
    image = over_grpc.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([encode(drawn())], object))
    with over_grpc.InferenceServerClient(stack.grpc) as client:
        answer = client.infer("vectorize", [image], parameters={"tier": "1"}, client_timeout=60)
    return str(json.loads(answer.get_response().parameters["model_versions"].string_param)["tier1"])


def test_a_split_holds_at_every_door(stack: Stack, site: Path) -> None:
    """D-083: everybody gets the candidate, and nobody any more, while another version is current all the time."""
    assert models(stack, site, "load", "tier1", "2")[0] == 0
    for percentage, version in (("100", "2.0"), ("0", "1.3")):
        code, told = models(stack, site, "split", "tier1", percentage)
        assert code == 0, told
        time.sleep(5)
        assert {by_native_door(stack), by_open_inference(stack), by_grpc(stack)} == {version}


def test_a_rolling_update_under_load(stack: Stack, site: Path) -> None:
    """D-091: `atelier deploy` replaces every replica, with no request failing."""
    before = set(stack.pids("ray::ServeReplica"))
    write_settings(site, 44)
    with under_load(stack) as load:
        done = stack.atelier("deploy", "--config", str(site / "site.yaml"), timeout_s=280)
        assert done.returncode == 0, done.stderr
        load.wait_for("1.3")
    assert load.errors == []
    assert not before & set(stack.pids("ray::ServeReplica"))


def test_what_needs_a_new_start_is_refused(stack: Stack, site: Path) -> None:
    environment = {**stack.environment, "ATELIER_LIMITS__MAX_TENSORS": "7"}
    other = Stack(stack.http, stack.grpc, stack.dashboard, environment)
    done = other.atelier("deploy", "--config", str(site / "site.yaml"))
    assert (done.returncode, "cannot change while the stack runs" in done.stderr) == (1, True)


def test_spare_replicas_are_for_where_there_is_room() -> None:
    """A spare ensemble that never finds a place would hold the deployment up for ever."""
    settings = Settings()
    assert spare_for(settings, {"CPU": 2.0}) == Spare(doors=1, ensembles=1)
    assert spare_for(settings, {"CPU": 0.8}) == Spare(doors=1, ensembles=0)
    with_gpu = settings.model_copy(update={"illustrator": settings.illustrator.model_copy(update={"num_gpus": 0.5})})
    assert spare_for(with_gpu, {"CPU": 8.0}) == Spare(doors=1, ensembles=0)
    assert spare_for(with_gpu, {"CPU": 8.0, "GPU": 0.5}) == Spare(doors=1, ensembles=1)
    with pytest.raises(EngineUnavailable):
        spare_for(settings, {})
