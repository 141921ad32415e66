"""The short version of `make chaos`: nothing is lost, nothing is answered wrongly, whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.chaos.faults import FAULTS

pytestmark = [pytest.mark.cluster, pytest.mark.postgresql, pytest.mark.redis]


def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.chaos", "--short", "--reports", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    told = json.loads((tmp_path / "chaos.json").read_text())["faults"]
    assert [one["fault"] for one in told] == [name for name, fault in FAULTS.items() if fault.short]
    for one in told:
        assert one["sent"] >= 10, one
        assert (one["counts"]["lost"], one["counts"]["wrong"]) == (0, 0), one
