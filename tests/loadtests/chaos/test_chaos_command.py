"""What `python -m loadtests.chaos` checks before its start, and keeps after a failure."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from loadtests.chaos import __main__ as chaos
from loadtests.chaos import site as sites
from loadtests.chaos.attempts_log import Attempt, AttemptResult, Entry, summary
from loadtests.chaos.faults import FAULTS, Fault
from loadtests.chaos.runner import Outcome
from loadtests.chaos.site import DISK

NOT_ALLOWED = 'printf "mount: permission denied" >&2; exit 32'


class Site:
    def errors(self) -> list[str]:
        return []


async def driven(site: Any, faults: Sequence[Fault], pace: Any, say: Any) -> tuple[list[Outcome], str]:
    return outcome(faults, AttemptResult.RIGHT), ""


def outcome(faults: Sequence[Fault], *result: AttemptResult) -> list[Outcome]:
    entry = Entry("HTTP", 0.0, [Attempt(number, number + 0.1, one) for number, one in enumerate(result)], ended=9.0)
    return [Outcome(fault.name, "pid 1", summary([entry], 1.0)) for fault in faults]


def done_by(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> tuple[str | int | None, list[str]]:
    """The exit status, and the kinds of the sites that were started; the site on a disk fails to start."""
    started: list[str] = []

    @contextlib.contextmanager
    def site(kind: str, replicas: int) -> Iterator[Site]:
        started.append(kind)
        if kind == DISK:
            raise RuntimeError("no stack")
        yield Site()

    monkeypatch.setattr(chaos, "site", site)
    monkeypatch.setattr(chaos, "drive", driven)
    monkeypatch.setattr(chaos.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["chaos", "--reports", str(folder), *arguments])
    with pytest.raises(SystemExit) as ended:
        chaos.main()
    return ended.value.code, started


def test_impossible_fault_is_reported_before_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sites, "mount", lambda disk: ["sh", "-c", NOT_ALLOWED])
    error, started = done_by(monkeypatch, tmp_path)
    assert error == "'full disk' cannot be done here: nothing may be mounted (mount: permission denied); see --without"
    assert not started
    assert done_by(monkeypatch, tmp_path, "--without", "full disk")[0] == 0
    found = json.loads((tmp_path / "chaos.json").read_text())["faults"]
    assert [one["fault"] for one in found] == [name for name in FAULTS if name != "full disk"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((AttemptResult.CLEAR, AttemptResult.RIGHT), ""),
        ((AttemptResult.BROKEN, AttemptResult.RIGHT), ""),
        ((AttemptResult.UNCLEAR, AttemptResult.RIGHT), "1 after an error that does not say when to come again"),
        ((AttemptResult.CLEAR,), "1 lost"),
    ],
)
def test_missed_goal_fails_the_run_and_is_reported(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    result: Sequence[AttemptResult],
    message: str,
) -> None:
    async def met(site: Any, faults: Sequence[Fault], pace: Any, say: Any) -> tuple[list[Outcome], str]:
        return outcome(faults, *result), ""

    monkeypatch.setitem(globals(), "driven", met)
    status, _ = done_by(monkeypatch, tmp_path, "--only", "HAProxy SIGKILL")
    printed = capsys.readouterr()
    assert (status, f"goal missed: HAProxy SIGKILL: {message}" in printed.err) == (int(bool(message)), bool(message))
    assert printed.out.splitlines()[-1].startswith("all of it took ")
    assert json.loads((tmp_path / "chaos.json").read_text())["settings"]["took_s"] > 0


def test_failing_site_keeps_the_table_of_earlier_sites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chaos, "missing", lambda kind: "")
    with pytest.raises(RuntimeError, match="no stack"):
        done_by(monkeypatch, tmp_path)
    assert "| HAProxy SIGKILL |" in (tmp_path / "chaos.md").read_text()
