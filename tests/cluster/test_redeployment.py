"""The messages between `atelier deploy` and a running stack (D-091), and the checks of `atelier up` before a start;
no Ray."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import serve.observability.logs.console
from serve.cli import deploy, main
from serve.cli.machine import foreground
from serve.cluster import ray_environment, redeployment, stack
from serve.cluster.nodes import with_addresses
from serve.errors import AtelierError, EngineUnavailable
from serve.settings import Settings, load

ADDRESS = "127.0.0.1:1"
run_process = subprocess.run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The processes that have to load today's code."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command[3:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def wish(settings: Settings) -> None:
    path = stack.state_file(settings).with_suffix(".wish.json")
    path.write_text(json.dumps({"id": "abc", "config": "/etc/site.yaml"}))


def outcome(settings: Settings) -> Any:
    return json.loads(stack.state_file(settings).with_suffix(".outcome.json").read_text())


def test_a_wish_is_carried_out_once(settings: Settings, commands: list[list[str]]) -> None:
    redeployment.redeploy_if_requested(settings, ADDRESS)
    wish(settings)
    for _ in range(3):
        redeployment.redeploy_if_requested(settings, ADDRESS)
    assert commands == [["redeploy", "--config", "/etc/site.yaml"]]
    assert outcome(settings) == {"id": "abc", "error": ""}


def test_an_outcome_that_cannot_be_written_down_ends_no_stack(settings: Settings, commands: list[list[str]]) -> None:
    wish(settings)
    stack.state_file(settings).with_suffix(".outcome.json").mkdir()
    for _ in range(3):
        redeployment.redeploy_if_requested(settings, ADDRESS)
    assert len(commands) == 1, "and the deployment is not begun again each second"


def test_what_is_no_text_ends_no_stack(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "import sys; sys.stderr.buffer.write(b'broken \\xff\\n'); sys.exit(1)"
    monkeypatch.setattr(subprocess, "run", lambda _, **named: run_process([sys.executable, "-c", told], **named))
    wish(settings)
    redeployment.redeploy_if_requested(settings, ADDRESS)
    assert outcome(settings)["error"] == "broken \ufffd"


def test_a_machine_without_room_for_a_process_ends_no_stack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", fails)
    wish(settings)
    redeployment.redeploy_if_requested(settings, ADDRESS)
    assert outcome(settings)["error"] == "no process could be started: Resource temporarily unavailable"


@pytest.fixture
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("signals")
def test_a_wish_of_a_stack_that_was_killed_is_forgotten(
    settings: Settings, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wish(settings)
    looks = iter((1.0, 2.0))

    def sleep(_: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(foreground, "ray_cluster", lambda _: contextlib.nullcontext(ADDRESS))
    monkeypatch.setattr(foreground, "temporary_folder", contextlib.nullcontext)
    monkeypatch.setattr(serve.observability.logs.console, "console_errors", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(stack, "wait_ready", lambda _: None)
    monkeypatch.setattr(time, "sleep", sleep)
    foreground.run(settings)
    assert commands == []


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings as the commands read them from the environment, and with their location filled in."""
    monkeypatch.setenv("ATELIER_RAY__HOST", "node")
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ATELIER_CONFIG", "")
    found = with_addresses(load(), ("127.0.0.1", 9))
    monkeypatch.setattr(deploy, "with_addresses", lambda _: found)
    return found


def test_a_stack_on_several_machines_is_deployed_anew(node: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-113: settings that need a restart are unchanged, although the settings say ``node``."""
    there = replace(stack.StackRecord.of(node), fixed=redeployment.fixed_digest(node))
    answers = iter((there, None))
    monkeypatch.setattr(stack, "running_stack", lambda _: next(answers))
    monkeypatch.setattr(redeployment, "running_stack", lambda _: next(answers))
    done = CliRunner().invoke(main.app, ["deploy"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "error: the stack ended meanwhile")


def test_the_new_replicas_know_their_machine(node: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def apply(settings: Settings) -> Settings:
        seen.append(settings.ray.host)
        raise EngineUnavailable("no Ray here")

    monkeypatch.setattr(ray_environment, "apply", apply)
    assert CliRunner().invoke(main.app, ["redeploy"]).exit_code == 1
    assert seen == [node.ray.host]


@pytest.mark.parametrize(
    ("host", "told"),
    [("10.0.0.7", "database.url"), ("0.0.0.0", "database.url"), ("127.0.0.1", "no ports"), ("localhost", "no ports")],
)
def test_where_others_can_join_everything_is_shared(
    host: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A-113: another machine would have its own database, pictures and keys."""

    def stops(_: Settings) -> None:
        raise AtelierError("no ports are looked at here")

    monkeypatch.setattr(stack, "check_ports", stops)
    environment = {"ATELIER_RAY__HOST": host, "ATELIER_STATE_DIR": str(tmp_path), "ATELIER_CONFIG": ""}
    done = CliRunner().invoke(main.app, ["up"], env=environment)
    assert done.exit_code == 3
    assert told in done.stderr
