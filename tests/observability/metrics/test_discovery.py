"""The file by which Prometheus discovers machines, while machines join and leave."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import until

from serve.cluster import nodes
from serve.errors import InvalidRequest
from serve.settings import Settings


class Head:
    """Stands in for the module ``ray``: lists ``machines``, and fails while it is ``busy``."""

    class Busy(Exception): ...

    exceptions = SimpleNamespace(RayError=Busy)

    def __init__(self) -> None:
        self.machines = [1]
        self.busy = False
        self.odd = False
        self.calls = 0

    def nodes(self) -> list[dict[str, Any]]:
        self.calls += 1
        if self.busy:
            raise self.Busy
        if self.odd:
            raise TypeError("odd")
        return [{"NodeManagerAddress": f"10.0.0.{n}", "MetricsExportPort": n, "Alive": True} for n in self.machines]


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    found = Head()
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setattr(nodes, "REFRESH_INTERVAL_S", 0.01)
    return found


async def test_file_follows_machines(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.json"

    def targets() -> list[str]:
        return next(one["targets"] for one in json.loads(path.read_text()) if one["labels"]["job"] == "ray")

    with nodes.publish_targets(Settings(metrics_file=path)):
        assert targets() == ["10.0.0.1:1"]
        head.machines.append(2)
        await until(lambda: targets() == ["10.0.0.1:1", "10.0.0.2:2"])
        head.busy, calls = True, head.calls
        await until(lambda: head.calls > calls + 2)
        assert len(targets()) == 2
        head.busy, head.odd, calls = False, True, head.calls
        await until(lambda: head.calls > calls + 2)
        head.machines.remove(1)
        head.odd = False
        await until(lambda: targets() == ["10.0.0.2:2"])
    assert list(path.parent.iterdir()) == []


def test_end_removes_the_file_while_the_head_hangs(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that ends it may not have time to wait for the head's response."""
    path, calls, gone = tmp_path / "metrics.json", threading.Event(), threading.Event()
    monkeypatch.setattr(nodes, "_JOIN_TIMEOUT_S", 60.0)

    def all_nodes() -> list[dict[str, Any]]:
        if threading.current_thread() is not threading.main_thread():
            calls.set()
            deadline = time.monotonic() + 60
            while path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            if not path.exists():
                gone.set()
        return Head.nodes(head)

    monkeypatch.setattr(head, "nodes", all_nodes)
    with nodes.publish_targets(Settings(metrics_file=path)):
        assert calls.wait(60)
    assert gone.is_set()
    assert not path.exists(), "a response to an earlier query is not written after the end"


def test_file_written_late_by_a_slow_disk_is_removed(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write began before the end and went on after the file was removed."""
    path, begun = tmp_path / "metrics.json", threading.Event()
    monkeypatch.setattr(nodes, "_JOIN_TIMEOUT_S", 60.0)

    def write(where: Path, *targets: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            deadline = time.monotonic() + 60
            while path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        where.write_text("[]")

    monkeypatch.setattr(nodes, "write_targets", write)
    with nodes.publish_targets(Settings(metrics_file=path)):
        assert begun.wait(60)
    assert not path.exists()


def test_unwritable_path_is_refused(head: Head, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(metrics_file=tmp_path / "file" / "x")
    with pytest.raises(InvalidRequest, match="metrics_file"), nodes.publish_targets(settings):
        raise AssertionError
