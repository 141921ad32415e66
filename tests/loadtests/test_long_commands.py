"""A command that starts processes ends them, also when its test is ended first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import long_commands

WAITS = "while :; do sleep 0.05; done"
A_TEST = """
import signal, sys
from programs import long_commands

class Over(BaseException):
    "As pytest-timeout raises in a test whose time is over: out of the handler of a signal."

def end(*_):
    raise Over

signal.signal(signal.SIGUSR1, end)
try:
    long_commands.done(["sh", "-c", sys.argv[1]], 60)
except Over:
    print("over")
"""
"""In a process of its own: the signal is that one's, whatever becomes of it."""


def test_output_of_a_command() -> None:
    done = long_commands.done(["sh", "-c", "echo out; echo error >&2; exit 7"], 60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "error\n")


def test_command_is_terminated_when_the_test_ends(tmp_path: Path) -> None:
    """Two seconds after its start, when it is certainly waited for, also on a busy machine."""
    orderly = f"trap 'echo ended > {tmp_path}/told; exit' TERM; sleep 2; kill -USR1 $PPID; {WAITS}"
    ended = subprocess.run(
        [sys.executable, "-c", A_TEST, orderly],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")
    assert (tmp_path / "told").read_text() == "ended\n"


def test_command_is_terminated_at_its_time_limit() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as late:
        long_commands.done(["sh", "-c", f"echo begun; trap 'echo ended >&2; exit' TERM; {WAITS}"], 3)
    assert late.value.__notes__ == ["begun\n\nended\n"]


def test_command_that_ignores_termination_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_commands, "ENDING_S", 0.2)
    with pytest.raises(subprocess.TimeoutExpired):
        long_commands.done(["sh", "-c", "trap '' TERM; exec sleep 60"], 2)
