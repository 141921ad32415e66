"""A stack on several machines: each one's own address, and the settings that all must share (A-113)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from serve.cli import join
from serve.cli.join import address_of
from serve.cluster.nodes import check_shared_state, with_addresses
from serve.cluster.ray_environment import ray_environment
from serve.errors import InvalidRequest
from serve.settings import Settings, load

SHARED = {
    "ray": {"host": "10.0.0.1"},
    "database": {"url": "postgresql://atelier@db/atelier"},
    "objects": {"url": "s3://bucket"},
    "secrets": {"keys": ["k" * 64]},
    "proxy": {"token": "t" * 32},
}


def test_a_site_that_shares_everything_may_span_machines() -> None:
    check_shared_state(load(**SHARED))


@pytest.mark.parametrize(
    ("section", "instead", "field"),
    [
        ("ray", {"host": "127.0.0.1"}, "ray.host"),
        ("database", {}, "database.url"),
        ("database", {"url": "sqlite:////tmp/a.db"}, "database.url"),
        ("objects", {}, "objects.url"),
        ("secrets", {}, "secrets.keys"),
        ("proxy", {}, "proxy.token"),
    ],
)
def test_what_is_one_machines_is_refused(section: str, instead: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_shared_state(load(**{**SHARED, section: instead}))
    assert caught.value.field == field


def test_node_is_the_address_that_leads_to_the_others() -> None:
    settings = load(ray={"host": "node"})
    assert with_addresses(settings, ("127.0.0.1", 9)).ray.host == "127.0.0.1"
    assert with_addresses(load(ray={"host": "10.0.0.7"})).ray.host == "10.0.0.7"


def test_who_leaves_goes_though_ray_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def hangs(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(join, "descendants", lambda pid: iter([1]))
    monkeypatch.setattr(join, "_node_id", lambda pid: "a" * 40)
    monkeypatch.setattr(subprocess, "run", hangs)
    node: Any = SimpleNamespace(pid=1)
    join.leave("10.0.0.1:6379", node, 5)
    assert "the others could not be told within 30 s" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["10.0.0.1", ":6379", "10.0.0.1:ray", ""])
def test_where_to_join_has_a_host_and_a_port(head: str) -> None:
    with pytest.raises(InvalidRequest):
        address_of(head)


def test_one_machine_keeps_to_loopback_and_several_ask_for_a_token() -> None:
    alone, together = ray_environment(Settings()), ray_environment(load(**SHARED))
    assert alone["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in together
    assert together["RAY_AUTH_MODE"] == "token"
    assert together["HAPROXY_OWN_HOST"] == "10.0.0.1"
    assert "None" not in together.values()


def test_a_lost_machine_is_lost_in_time() -> None:
    """A node is probed every second with a limit of one second, and is lost after a number of failures."""
    told = ray_environment(load(**{**SHARED, "ray": {"host": "10.0.0.1", "machine_timeout_s": 10}}))
    each_ms = int(told["RAY_health_check_period_ms"]) + int(told["RAY_health_check_timeout_ms"])
    assert each_ms * int(told["RAY_health_check_failure_threshold"]) <= 10_000


def test_a_token_of_the_site_is_the_same_everywhere() -> None:
    settings = load(**SHARED)
    assert settings.proxy.token == SecretStr("t" * 32)
    assert ray_environment(settings)["ATELIER_PROXY__TOKEN"] == "t" * 32


@pytest.mark.parametrize("option", ["--node_id", "--node-id"])
def test_a_machine_that_leaves_finds_its_own_name_among_the_options_of_its_raylet(tmp_path: Path, option: str) -> None:
    """With further options and a path that are as long as in a real raylet."""
    raylet = tmp_path / ("x" * 50) / "raylet"
    raylet.parent.mkdir()
    raylet.symlink_to(sys.executable)
    told = [f"--raylet_socket_name={'s' * 60}", f"{option}={'5c' * 28}", f"--log={'l' * 60}"]
    waits = [raylet, "-c", "print(flush=True); input()", *told]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        assert join._node_id(process.pid) == "5c" * 28
        process.communicate(b"\n")
