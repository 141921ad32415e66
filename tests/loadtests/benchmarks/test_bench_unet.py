"""The cost of a denoising step by batch size, on this machine's device."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from loadtests.benchmarks import unet
from loadtests.benchmarks.unet import SHAPES, Curve, measure, plain, table
from loadtests.simulate.curve_files import read
from loadtests.simulate.simulation import OURS, Demand
from loadtests.simulate.tables import run


def test_every_batch_is_measured_and_gains_are_of_throughput() -> None:
    curve = measure(SHAPES["tiny"], 64, (1, 2), "cpu", torch.float32, 0.0)
    assert (curve.shape, curve.side_px, curve.device, curve.dtype) == ("tiny", 64, "CPU", "float32")
    assert all(curve.milliseconds[rows] > 0 for rows in (1, 2))
    assert curve.gains[1] == 1.0
    assert plain(curve)["milliseconds"].keys() == {"1", "2"}
    assert table([curve]).count("| tiny |") == 2


def test_batch_that_costs_as_much_as_one_gains_its_size() -> None:
    assert Curve("sd15", 512, "GPU", "float16", {1: 10.0, 4: 10.0, 8: 80.0}).gains == {1: 1.0, 4: 4.0, 8: 1.0}


@pytest.mark.parametrize(("name", "parameters"), [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
def test_shapes_are_those_of_the_published_networks(name: str, parameters: int) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        model = UNet2DConditionModel(**SHAPES[name].config)
    assert sum(each.numel() for each in model.parameters()) == parameters


def test_result_of_bench_unet_can_be_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "unet.json"
    command = ["bench_unet", "--shape", "tiny", "--batch", "1", "2", "4", "--seconds", "0", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    unet.main()
    out.write_text(json.dumps(2 * json.loads(out.read_text())))
    curve, same = read(str(out))
    assert curve == same
    assert set(curve.milliseconds) == {1, 2}
    assert curve.name.startswith("tiny, 64 x 64, ")
    found = run(curve, OURS, 1, 0.5, Demand((8,)))
    assert found.latency_s(0.0) > 0.99 * 8 * min(curve.milliseconds.values()) / 1e3
