"""The cost of a denoising step by batch size, on this machine's device."""

from __future__ import annotations

import pytest
import torch

from loadtests.benchmarks.unet import SHAPES, Curve, measure, plain, table


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
