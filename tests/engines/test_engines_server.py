"""The life of the tritonserver process: start failures, restarts, and its end with its owner."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx

from serve.engines.client import EngineClient
from serve.engines.triton.adapters_folder import PREFIX, locked_folder, remove_abandoned
from serve.engines.triton.installation import Ports
from serve.engines.triton.server import TritonServer, _free_ports
from serve.engines.triton.supervisor import Supervisor
from serve.engines.triton_http import KEY_HEADER
from serve.errors import EngineUnavailable
from serve.observability.metrics import processes

pytestmark = pytest.mark.triton

X = {"x": np.ones((1, 4), np.float32)}


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_only_unlocked_folders_of_adapters_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pids their processes have in namespaces of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned = tmp_path / f"{PREFIX}{os.getpid()}-x"
    abandoned.mkdir()
    folder, lock = locked_folder()
    remove_abandoned()
    assert [str(path) for path in tmp_path.iterdir()] == [folder.name]
    os.close(lock)
    remove_abandoned()
    assert not list(tmp_path.iterdir())


def stubs(server: TritonServer) -> list[int]:
    below = processes.descendants(server.pid)
    return [pid for pid in below if b"python_backend_stub" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def regions(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"atelier_{pid}_*"))


def test_missing_engine_fails_the_start(repository: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"^engine 'nothing' is not in the model repository$"):
        TritonServer(repository, ["affine_openvino", "nothing"]).start()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name: "y"', 'name: "q"', "the config names the output 'q', the model has y, z"),
        ("TYPE_FP32 dims: [4]", "TYPE_INT64 dims: [4]", "input 'x' is TYPE_INT64 in the config and TYPE_FP32"),
        ("dims: [4]", "dims: [5]", "input 'x' is"),
        ("model.onnx", "nothing.onnx", "version 1 has no file 'nothing.onnx'"),
        (f'backend: "{"onnxruntime"}"', 'backend: "tensorrt"', "tensorrt"),
    ],
)
def test_engine_that_cannot_load_fails_with_a_reason(
    tmp_path: Path, backend: str, old: str, new: str, reason: str
) -> None:
    config = tiny_onnx.affine(tmp_path, "affine", backend) / "config.pbtxt"
    config.write_text(config.read_text().replace("openvino" if "backend" in old else "\0", "onnxruntime"))
    config.write_text(config.read_text().replace(old, new, 1))
    server = TritonServer(tmp_path, ["affine"])
    with pytest.raises(EngineUnavailable) as caught:
        server.start()
    assert reason in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert "site-packages" not in caught.value.message
    assert not server.running


def test_start_timeout(repository: Path) -> None:
    server = TritonServer(repository, ["affine_openvino"], start_timeout_s=0.01)
    with pytest.raises(EngineUnavailable, match=r"did not load within 0\.01 s"):
        server.start()
    assert not server.running


def test_stop_leaves_nothing_behind(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    server.start()
    pids = [server.pid, *processes.descendants(server.pid)]
    folder = Path(f"/proc/{server.pid}/cwd").readlink()
    mine = set(regions(os.getpid()))
    assert len(stubs(server)) == 1
    server.stop()
    assert gone(pids)
    assert not folder.exists()
    assert len(mine - set(regions(os.getpid()))) == 1
    server.stop()  # a second stop does nothing


def test_server_is_in_its_owners_session_but_not_its_process_group(repository: Path) -> None:
    """Linux gives each session its own share of the processor, regardless of niceness (autogroup)."""
    with TritonServer(repository, ["affine_onnxruntime"]) as server:
        for pid in (server.pid, *processes.descendants(server.pid)):
            assert os.getsid(pid) == os.getsid(0)
            assert os.getpgid(pid) != os.getpgrp()  # Ctrl-C goes to the foreground process group


def test_server_outlives_the_thread_that_started_it(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    wait_for(lambda: starter.native_id not in map(int, os.listdir("/proc/self/task")))
    try:
        assert server.running
        assert len(stubs(server)) == 1
    finally:
        server.stop()


OWNER = """
import sys, time
from pathlib import Path
from serve.engines.triton.server import TritonServer, _free_ports
server = TritonServer(Path(sys.argv[1]), ["affine_onnxruntime", "affine_openvino"])
server.start()
print(server.pid, server.url, flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with its own server; its first line of output has the process guard's pid and the URL."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(repository)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


async def test_external_server_by_url_ends_with_its_owner(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout is not None
    pid, url = (await asyncio.to_thread(owner.stdout.readline)).split()
    outside = EngineClient(url)
    answer = await outside.infer("affine_openvino", X)
    np.testing.assert_allclose(answer["y"], X["x"] @ tiny_onnx.WEIGHTS, rtol=1e-5)
    await outside.close()
    pids = [int(pid), *processes.descendants(int(pid))]
    assert len(pids) == 4  # the process_guard, tritonserver, two stubs
    owner.kill()
    owner.wait()
    await asyncio.to_thread(wait_for, lambda: gone(pids))
    await asyncio.to_thread(wait_for, lambda: not regions(owner.pid))


def test_server_ends_with_its_killed_guard(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    before = set(regions(os.getpid()))
    server.start()
    pids = processes.descendants(server.pid)
    folder = Path(f"/proc/{server.pid}/cwd").readlink()
    assert len(pids) == 2  # tritonserver and its stub
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: gone(pids))
    assert not server.running
    server.restart()
    assert server.running
    assert not folder.exists()
    server.stop()
    assert set(regions(os.getpid())) == before


def test_hanging_stub_ends_after_its_guard_was_killed(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    server.start()
    pids = processes.descendants(server.pid)
    os.kill(stubs(server)[0], signal.SIGSTOP)  # so it does not notice that its parent is gone
    os.kill(server.pid, signal.SIGKILL)
    server.restart()  # which ends a stub that hangs, instead of waiting for it
    wait_for(lambda: gone(pids))
    server.stop()


HANGS = """
import re
from serve.engines.backends import parent_watch
parent_watch.ALARM_S = 1
parent_watch.exit_with_parent()
re.fullmatch(r"(x+x+)+y", "x" * 60)  # for ages, with the interpreter's lock
"""


def test_stub_that_holds_the_interpreter_lock_is_ended_by_an_alarm() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], timeout=60, check=False)
    assert ended.returncode == -signal.SIGALRM


async def heal(server: TritonServer, engines: EngineClient, engine: str, timeout_s: float = 60.0) -> float:
    """Seconds until ``engine`` works again."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        try:
            await engines.infer(engine, X)
        except EngineUnavailable:
            await asyncio.sleep(0.05)
        else:
            if server.restarts:
                return time.monotonic() - started
            await asyncio.sleep(0.05)
    raise AssertionError(f"not healed: {server.log()[-5:]}")


@pytest.mark.parametrize("victim", ["stub", "tritonserver", "process_guard", "frozen stub", "frozen tritonserver"])
async def test_killed_or_frozen_process_is_replaced(repository: Path, victim: str) -> None:
    """Triton still reports ready without its stub."""
    server = TritonServer(repository, ["affine_onnxruntime", "affine_openvino"])
    await asyncio.to_thread(server.start)
    engines = EngineClient(server.url)
    watch = asyncio.create_task(Supervisor(server, engines, interval_s=0.5).run())
    try:
        await engines.probe("affine_onnxruntime")
        await engines.probe("affine_openvino")
        pids = {
            "stub": stubs(server)[0],
            "tritonserver": processes.children(server.pid)[0],
            "process_guard": server.pid,
        }
        frozen = victim.startswith("frozen ")
        os.kill(pids[victim.removeprefix("frozen ")], signal.SIGSTOP if frozen else signal.SIGKILL)
        await heal(server, engines, "affine_onnxruntime")
        await engines.probe("affine_openvino")
        assert server.restarts == 1
    finally:
        watch.cancel()
        await engines.close()
        await asyncio.to_thread(server.stop)


async def test_killed_stub_fails_the_probe_while_triton_reports_ready(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    await asyncio.to_thread(server.start)
    engines = EngineClient(server.url)
    try:
        os.kill(stubs(server)[0], signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            await engines.probe("affine_onnxruntime")
        assert await engines.engines() == ["affine_onnxruntime"]
    finally:
        await engines.close()
        await asyncio.to_thread(server.stop)


def first_check(watcher: Supervisor) -> asyncio.Event:
    """Set once ``watcher`` has checked everything, and pauses."""
    ended, pause = asyncio.Event(), watcher._pause

    async def pausing() -> None:
        ended.set()
        await pause()

    watcher._pause = pausing  # type: ignore[method-assign]
    return ended


async def test_killed_stub_is_noticed_between_probes(repository: Path) -> None:
    """Of an engine with several instances, a probe may reach one that works."""
    server = TritonServer(repository, ["affine_onnxruntime"])
    await asyncio.to_thread(server.start)
    engines = EngineClient(server.url)
    watcher = Supervisor(server, engines, interval_s=600)
    checked = first_check(watcher)
    watch = asyncio.create_task(watcher.run())
    try:
        await asyncio.wait_for(checked.wait(), 60)
        assert server.restarts == 0
        os.kill(stubs(server)[0], signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: server.restarts == 1)
    finally:
        watch.cancel()
        await engines.close()
        await asyncio.to_thread(server.stop)


async def test_stub_that_resumed_late_is_replaced(repository: Path) -> None:
    """As on a machine that was suspended for a second. Otherwise it fails for ever, crashes, or mixes up responses."""
    server = TritonServer(repository, ["affine_onnxruntime"], threads=2)
    await asyncio.to_thread(server.start)
    engines = EngineClient(server.url)
    watcher = Supervisor(server, engines, interval_s=600, look_s=300)  # only calls detect it
    refusals: set[str] = set()
    report, late, mark = engines.on_stub_lost, stubs(server)[0], server.serving_mark
    assert mark is not None
    assert mark.exists()
    marked: list[bool] = []

    def wake_and_report(engine: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(late, signal.SIGCONT)
        assert report is not None
        report(engine)
        marked.append(mark.exists())

    engines.on_stub_lost = wake_and_report
    checked = first_check(watcher)
    watch = asyncio.create_task(watcher.run())

    async def ask(kind: int) -> None:
        x = np.full((1, 4), kind, np.float32)
        until = time.monotonic() + 6
        while time.monotonic() < until:
            try:
                answer = await engines.infer("affine_onnxruntime", {"x": x})
            except EngineUnavailable as error:
                refusals.add(str(error))
                await asyncio.sleep(0.05)
            else:
                np.testing.assert_allclose(answer["y"], x @ tiny_onnx.WEIGHTS, rtol=1e-4)

    try:
        await asyncio.wait_for(checked.wait(), 60)
        os.kill(late, signal.SIGSTOP)
        await asyncio.gather(*(ask(kind) for kind in range(4)))
        await heal(server, engines, "affine_onnxruntime")
        assert server.restarts == 1
        assert "engine 'affine_onnxruntime' is being restarted" in refusals
        assert set(marked) == {False}
        assert server.serving_mark != mark
    finally:
        watch.cancel()
        await engines.close()
        await asyncio.to_thread(server.stop)


async def test_busy_engine_is_not_restarted(repository: Path) -> None:
    """Probes that time out while the queue moves are no reason to restart."""
    server = TritonServer(repository, ["slow_onnxruntime"])
    await asyncio.to_thread(server.start)
    engines = EngineClient(server.url, timeout_s=60)
    x = {"x": np.zeros((1, tiny_onnx.SLOW_SIDE, tiny_onnx.SLOW_SIDE), np.float32)}
    watch = asyncio.create_task(Supervisor(server, engines, interval_s=0.1, probe_timeout_s=1.0).run())
    try:
        await asyncio.gather(*(engines.infer("slow_onnxruntime", x) for _ in range(5)))
        assert server.restarts == 0
    finally:
        watch.cancel()
        await engines.close()
        await asyncio.to_thread(server.stop)


CRASH = "terminate called after throwing an instance of 'boost::interprocess::lock_exception'"


def crashing(server: TritonServer, ports: Ports) -> subprocess.Popen[bytes]:
    command = ["sh", "-c", 'echo "$0"; exit 134', CRASH]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_start_is_repeated_after_a_crash(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawns = iter([crashing, TritonServer._spawn])
    monkeypatch.setattr(TritonServer, "_spawn", lambda *arguments: next(spawns)(*arguments))
    with TritonServer(repository, ["affine_onnxruntime"]) as server:
        assert server.running
    assert next(spawns, None) is None


def test_crash_at_every_start_is_reported(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TritonServer, "_spawn", crashing)
    server = TritonServer(repository, ["affine_onnxruntime"])
    with pytest.raises(EngineUnavailable, match=r"ended at start: terminate called .*lock_exception"):
        server.start()
    assert not server.running


GIVEN_UP = """
echo "E1126 1 model_lifecycle.cc:642] \\"failed to load 'affine_onnxruntime' version 1: Internal: bad\\""
echo "I1126 1 server.cc:305] \\"Waiting for in-flight requests to complete.\\""
exec cat
"""


def test_failed_start_does_not_wait_for_the_end_of_the_process(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On busy processors a tritonserver that has given up takes seconds to end; this one ends with its input."""

    def lingering(server: TritonServer, ports: Ports) -> subprocess.Popen[bytes]:
        command = ["sh", "-c", GIVEN_UP]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    monkeypatch.setattr(TritonServer, "_spawn", lingering)
    server = TritonServer(repository, ["affine_onnxruntime"])
    with pytest.raises(EngineUnavailable, match=r"^engine 'affine_onnxruntime': bad$"):
        server.start()
    assert not server.running


def test_metrics_are_served(triton: TritonServer) -> None:
    with urllib.request.urlopen(triton.metrics_url, timeout=60) as answer:
        assert b"nv_inference_request_success" in answer.read()


@pytest.mark.parametrize("taken", range(3), ids=Ports._fields)
def test_port_taken_by_another_process_is_replaced(
    repository: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Between the choice of a port and its use, another process may bind it."""
    with socket.create_server(("127.0.0.1", 0)) as thief:
        free = [_free_ports() for _ in range(2)]
        stolen = list(free[0])
        stolen[taken] = thief.getsockname()[1]
        choices = iter([Ports(*stolen), free[1]])
        monkeypatch.setattr("serve.engines.triton.server._free_ports", lambda: next(choices))
        with TritonServer(repository, ["affine_onnxruntime"]) as server:
            assert server.url == f"127.0.0.1:{free[1].grpc}"
            assert server.running


def over_http(address: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


INFERENCE = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}
).encode()


@pytest.mark.parametrize(
    ("method", "path", "body", "with_key"),
    [
        ("POST", "/v2/models/affine_onnxruntime/infer", INFERENCE, 200),
        ("POST", "/v2/repository/models/affine_onnxruntime/load", b"{}", 200),
        ("POST", "/v2/repository/index", b"{}", 200),
        ("GET", "/v2/models/affine_onnxruntime/config", b"", 200),
        ("GET", "/v2/models/affine_onnxruntime/stats", b"", 200),
        ("GET", "/v2/models/affine_onnxruntime", b"", 200),
        ("GET", "/v2/systemsharedmemory/status", b"", 200),
        ("GET", "/v2/trace/setting", b"", 200),
        ("GET", "/v2/logging", b"", 200),
        ("GET", "/v2/health/live", b"", 200),
    ],
)
def test_http_answers_only_with_the_key(
    triton: TritonServer, method: str, path: str, body: bytes, with_key: int
) -> None:
    """Also no web page: a browser asks with OPTIONS before it sends such a header to another origin."""
    address = triton.http_address
    assert over_http(address, method, path, body, {KEY_HEADER: triton.http_key}) == with_key
    assert over_http(address, method, path, body, {}) == 403
    assert over_http(address, method, path, body, {KEY_HEADER: "0" * 32}) == 403
    assert over_http(address, "OPTIONS", path, b"", {"Access-Control-Request-Headers": KEY_HEADER}) >= 400
    assert not [line for line in triton.log() if triton.http_key in line]
