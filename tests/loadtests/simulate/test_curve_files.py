"""Curves of the simulation, read from engine profiles and ``loadtests.benchmarks.unet``, which count rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.simulate import tables
from loadtests.simulate.__main__ import main
from loadtests.simulate.curve_files import read

PROFILE = Path(__file__).parents[3] / "model_repository" / "mini_unet" / "profile.json"


def test_profile_is_read_with_two_rows_for_a_picture() -> None:
    rows = json.loads(PROFILE.read_text())["milliseconds"]
    (guided,), (plain,) = read(str(PROFILE)), read(str(PROFILE), 1)
    assert guided.milliseconds == {int(size) // 2: ms for size, ms in rows.items() if size != "1"}
    assert plain.milliseconds == {int(size): ms for size, ms in rows.items()}
    assert guided.source.startswith(f"{PROFILE}, measured 20")
    assert "2 rows a picture" in guided.source


def test_profile_is_simulated_by_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LEAST", 400)
    monkeypatch.setattr(tables, "A_GPU", 10)
    main(["--curve", str(PROFILE), "--gpus", "1", "--loads", "0.3", "--steps", "2"])
    assert "mini_unet" in capsys.readouterr().out


MILLISECONDS = {"2": 1.0}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"name": "x"}, "it lacks source, milliseconds"),
        ({"engine": "mini_unet", "milliseconds": MILLISECONDS}, "it lacks device, measured"),
        ([{"shape": "sd15"}], "it lacks side_px, device, dtype, milliseconds"),
        ({"engine": "x", "device": "y", "measured": "z", "milliseconds": {"1": 1.0}}, "it lacks the .* batch of 2,"),
        ({"name": "x", "source": "y", "milliseconds": MILLISECONDS}, "begins with a batch of 1"),
        ({"name": "x", "source": "y", "milliseconds": {"1": None}}, "number"),
        ({"name": "x", "source": "y", "milliseconds": [1.0]}, "told by the size"),
        ({"name": "x", "source": "y", "milliseconds": {"1": 1.0}, "colour": 1}, "has no colour"),
        ([1], "is an object"),
    ],
)
def test_invalid_curve_file_is_refused_with_a_reason(
    content: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=why):
        read(str(path))
    with pytest.raises(SystemExit):
        main(["--curve", str(path)])
    assert f"error: {path}: " in capsys.readouterr().err
