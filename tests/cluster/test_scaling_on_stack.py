"""Replicas of the Illustrator follow the load, 1 to 2 to 1, and no request fails on the way (A-113, D-090)."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks.scaling import PLACES, STEP_S, run_steps, settings
from loadtests.load.stack import running
from loadtests.scaling import telling
from loadtests.scaling.sleeping import write_sleeping_family
from loadtests.scaling.timeline import changes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_replicas_follow_the_load_and_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one caller of the last step goes on while the second replica leaves: `run_steps` raises for a failure."""
    values = settings(write_sleeping_family(tmp_path / "models", STEP_S, PLACES), 2)
    values["illustrator"]["autoscaling"] |= {"upscale_delay_s": 1, "downscale_delay_s": 4}
    for name, value in telling.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with running(values) as started:
        moments = run_steps(started, "1x3,10x30,1x40", tmp_path)
    assert [moment.ready for moment in changes(moments)] == [1, 2, 1]
    assert max(moment.replicas for moment in moments) == 2
    assert max(moment.under_way for moment in moments) > PLACES
    assert 0 < max(moment.waiting for moment in moments) < 10
