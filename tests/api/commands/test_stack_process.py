"""The process of `atelier up -d` and `atelier down`, and failures of `atelier vectorize`: no Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin import Served
from typer.testing import CliRunner

from serve.cli.main import app
from serve.cli.vectorize import InProcess
from serve.cluster import stack
from serve.cluster.ray_environment import temporary_folder
from serve.errors import EngineUnavailable
from serve.settings import Settings, load

# Replaces the interpreter: writes a stack record, logs "ready", and stays alive.
CHILD = """#!/bin/sh
{trap}
echo $$ > {folder}/child
echo "already ready"
echo '{{"pid": '$$', "url": "", "grpc": "", "dashboard": null}}' > {state}
while :; do sleep 0.1; done
"""


def settings_at(folder: Path, port: int) -> Settings:
    return load(state_dir=str(folder), http={"port": port}, ray={"start_timeout_s": 0.5})


def stand_in(monkeypatch: pytest.MonkeyPatch, settings: Settings, folder: Path, trap: str = "") -> None:
    script = folder / "python"
    script.write_text(CHILD.format(trap=trap, folder=folder, state=stack.state_file(settings)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_log_message_alone_is_not_readiness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stack that is not ready in time is terminated."""
    settings = settings_at(tmp_path, 9)  # nothing listens there
    stand_in(monkeypatch, settings, tmp_path)
    with pytest.raises(EngineUnavailable, match="already ready"):
        stack.start_detached(settings, [], spare_s=0.5)
    pid = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_record_and_health_endpoint_together_are_readiness(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_at(tmp_path, int(served.http.rpartition(":")[2]))
    stand_in(monkeypatch, settings, tmp_path)
    stack.start_detached(settings, [], spare_s=20)
    there = stack.running_stack(settings)
    assert there is not None
    assert there.pid == int((tmp_path / "child").read_text())
    assert stack.stop(there, 10)
    assert stack.running_stack(settings) is None


def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    shell = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    with subprocess.Popen(["/bin/sh", "-c", shell], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        stack.end(child, grace_s=0.3)
        assert child.returncode == -9


def test_stopping_an_ended_process_is_no_error() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert stack.stop(stack.StackRecord(child.pid, "", "", None), 1)


@pytest.fixture
def _signals() -> Iterator[None]:
    """Restores the signal handlers after a test."""
    handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield
    for name, handler in handlers.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(
    "moment",
    ["serve.cli.machine.foreground.ray_cluster", "serve.cluster.stack.wait_ready", "serve.cli.machine.foreground.show"],
)
def test_stack_stopped_during_startup_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    """`up --detach` returns when the endpoints are ready, shortly before the stack itself has started. The test
    calls the handler: a real signal would end the test process, in which OpenVINO is loaded."""

    def ended(_: object) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGTERM, None)

    monkeypatch.setattr("serve.cli.machine.foreground.ray_cluster", contextlib.nullcontext)
    monkeypatch.setattr("serve.cluster.stack.wait_ready", lambda _: None)
    monkeypatch.setattr(moment, ended)
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("serve.cluster.stack.check_ports", lambda _: None)
    done = CliRunner().invoke(app, ["up"])
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == []


def test_temporary_folder_is_removed_with_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with temporary_folder():
        folder = Path(os.environ["TMPDIR"])
        Path(os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).write_text("a configuration")
        assert [path.name for path in folder.iterdir()] == ["haproxy.cfg"]
        assert os.environ["RAY_TMPDIR"] != str(folder)
    assert not folder.exists()


def test_missing_engines_are_reported_and_leave_no_thread(tmp_path: Path) -> None:
    for engine in ("image_features", "quality"):
        (tmp_path / engine).mkdir()
        (tmp_path / engine / "manifest.json").write_text("{")
    before = set(threading.enumerate())
    with pytest.raises(EngineUnavailable, match="image_features is missing"):
        InProcess(load(vectorizer={"model_repository": str(tmp_path)}))
    assert set(threading.enumerate()) <= before


def test_unwritable_svg_fails_alone(served: Served, logo: bytes, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(logo)
    (tmp_path / "svg" / "a.svg").mkdir(parents=True)  # a folder instead of a file
    arguments = ["vectorize", str(tmp_path), "-o", str(tmp_path / "svg"), "--url", served.http]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "1 converted, 1 failed" in done.stderr
    assert (tmp_path / "svg" / "b.svg").read_text().startswith("<svg")
