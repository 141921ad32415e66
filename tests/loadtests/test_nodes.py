"""What befalls a machine of two is told by callers that went on asking (`python -m loadtests.nodes`)."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from loadtests import nodes
from loadtests.scaling.known import ASKING

ASKED = """
import json, time
print("asking", flush=True)
began = time.monotonic()
time.sleep({seconds})
for at in (began, time.monotonic()):
    print(json.dumps(dict(began=at, ended=at, right=True, wrong=False, refusals=[])))
raise SystemExit({status})
"""


class Machine:
    def __init__(self, program: str) -> None:
        self._program = program

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", self._program], **options)


class Site:
    def __init__(self, seconds: float, status: int) -> None:
        self.first = Machine(ASKED.format(seconds=seconds, status=status))

    def door(self, machine: Machine) -> str:
        return "http://nowhere"


def measured(monkeypatch: pytest.MonkeyPatch, seconds: float, status: int = 0) -> nodes.Asked:
    monkeypatch.setattr(nodes, "BEFORE_S", 0.3)
    for name in ("happen", "settle"):
        monkeypatch.setattr(nodes, name, lambda event, site: None, raising=False)
    asked, _ = nodes.measure(Site(seconds, status), "kill", 1.0)  # type: ignore[arg-type]
    return asked


def test_callers_that_died_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ASKING == "asking"
    assert measured(monkeypatch, 1.5).right == 2
    with pytest.raises(RuntimeError, match="ended with 1"):
        measured(monkeypatch, 1.5, status=1)
    with pytest.raises(RuntimeError, match="did not ask on after it"):
        measured(monkeypatch, 0.0)


def test_without_events_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, ...]] = []
    monkeypatch.setattr(nodes, "missing", lambda: "")
    monkeypatch.setattr(nodes, "tell", lambda events: done.append(tuple(events)) or True)
    for given in ([], ["kill"]):
        monkeypatch.setattr(sys, "argv", ["nodes", *given])
        nodes.main()
    assert done == [nodes.EVENTS, ("kill",)]
    monkeypatch.setattr(sys, "argv", ["nodes", "burn"])
    with pytest.raises(SystemExit):
        nodes.main()
