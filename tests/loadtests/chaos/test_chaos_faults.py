"""Faults on a site: a suspended process and its watcher are always resumed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from loadtests.chaos import faults

WATCHER = "ray::ServeReplica"


class Process:
    pid = 7

    def __init__(self, *command: str, parents: Sequence[Process] = (), gone: bool = False) -> None:
        self._command, self._parents, self._gone = list(command), list(parents), gone
        self.signals: list[str] = []

    def cmdline(self) -> list[str]:
        return self._command

    def parents(self) -> list[Process]:
        return self._parents

    def suspend(self) -> None:
        if self._gone:
            raise psutil.NoSuchProcess(self.pid)
        self.signals.append("suspend")

    def resume(self) -> None:
        if self._gone:
            raise psutil.NoSuchProcess(self.pid)
        self.signals.append("resume")


def hold_up(site: Any) -> str:
    return faults._hold_up("stub", "unet", WATCHER, site)


def site_of(process: Process) -> Any:
    return SimpleNamespace(of=lambda kind: [process])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "LATE_S", 0.0)
    monkeypatch.setattr(faults, "_until_busy", lambda process: None)


def test_process_and_watcher_are_suspended_and_resumed() -> None:
    watcher = Process(f"{WATCHER}:atelier")
    stub = Process("stub", "unet", parents=[Process(), Process("tritonserver"), watcher])
    assert hold_up(site_of(stub)) == "pid 7 of 1, for 0 s"
    assert stub.signals == watcher.signals == ["suspend", "resume"]


def test_one_is_resumed_when_the_other_is_gone() -> None:
    stub = Process("stub", "unet", parents=[Process(WATCHER, gone=True)])
    with pytest.raises(psutil.NoSuchProcess):
        hold_up(site_of(stub))
    assert stub.signals == ["suspend", "resume"]


def test_process_without_a_watcher_is_reported_and_not_suspended() -> None:
    """By an error that leaves the thread in which it occurs, which a StopIteration never does."""
    stub = Process("stub", "unet", parents=[Process()])
    with pytest.raises(LookupError, match=f"no process '{WATCHER}' watches pid 7 of 1"):
        hold_up(site_of(stub))
    assert stub.signals == []
