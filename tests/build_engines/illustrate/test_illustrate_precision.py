"""B-071: how weights are stored, what that costs, and files too large for one protobuf message."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
import torch
from diffusers import LatentConsistencyModelPipeline
from torch import nn

from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import RUNTIMES
from build_engines.illustrate import parity, parts
from build_engines.illustrate.build import build
from build_engines.illustrate.design import Order, design
from build_engines.illustrate.onnx_file import write_onnx
from build_engines.illustrate.precision import Precision, quantise
from build_engines.illustrate.source import locate
from build_engines.illustrate.tensorrt import profile_shapes


class Small(nn.Module):
    """Every kind of weight that is stored in 8 bits, and a table that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 48)
        self.kernel = nn.Conv1d(48, 64, 3, padding=1)
        self.matrix = nn.Linear(64, 64, bias=False)
        self.out = nn.Linear(64, 40)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.kernel(self.table(ids.long()).transpose(1, 2)).transpose(1, 2)
        return self.out(self.matrix(x).relu()).mean(1)


CONTRACT = Contract("small", (Tensor("ids", (-1,), "TYPE_INT32"),), (Tensor("out", (40,)),), 4, ())


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


def ids(batch: int, length: int) -> dict[str, np.ndarray]:
    return {"ids": np.random.default_rng(length).integers(0, 64, (batch, length), dtype=np.int32)}


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("fp16", 0.5), ("int8", 0.28)])
def test_files_shrink_and_both_runtimes_answer_alike(
    small: nn.Module, tmp_path: Path, precision: Precision, share: float
) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(small, CONTRACT, ids(2, 7), precision, path)
    weights = sum(p.numel() * 4 for p in small.parameters())
    stored = sum(len(t.raw_data) for t in onnx.load(str(path)).graph.initializer)
    assert stored == pytest.approx(share * weights, rel=0.1)
    expected = parity.answers(small, CONTRACT, [ids(1, 3), ids(4, 20)])
    openers = {name: (lambda opener=opener: opener(path, CONTRACT)) for name, opener in RUNTIMES.items()}
    report = parity.check(CONTRACT, openers, expected, precision)
    assert set(report) >= {"onnxruntime", "openvino", "max_abs_error", "limit"}
    smallest = {"fp32": 0.0, "fp16": 1e-5, "int8": 1e-3}[precision]
    assert smallest <= report["relative_rms_error"] <= report["limit"]


def test_eight_bits_have_a_scale_per_channel() -> None:
    values = np.array([[0.001, -0.0005], [100.0, 50.0], [0.0, 0.0]], np.float32)
    levels, scale = quantise(values, 0)
    assert levels.tolist() == [[127, -64], [127, 64], [0, 0]]
    np.testing.assert_allclose(levels * scale, values, atol=0.5)


def test_a_picture_of_eight_bits_does_not_depend_on_its_batch(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(small, CONTRACT, ids(2, 7), "int8", path)
    run, batch = RUNTIMES["onnxruntime"](path, CONTRACT), ids(4, 9)
    alone = run({"ids": batch["ids"][:1]})["out"]
    np.testing.assert_allclose(run(batch)["out"][:1], alone, atol=1e-6)


def test_weights_too_many_for_one_file_go_beside_it(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "1" / "model.onnx"
    write_onnx(small, CONTRACT, ids(2, 7), "fp32", path, external_above_bytes=10_000)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.stat().st_size < 10_000
    expected = parity.answers(small, CONTRACT, [ids(3, 5)])
    for opener in RUNTIMES.values():
        np.testing.assert_allclose(opener(path, CONTRACT)(ids(3, 5))["out"], expected[0][1][0], atol=1e-5)


def test_wrong_answers_and_wrong_shapes_do_not_pass() -> None:
    expected = [(ids(1, 3), [np.ones((1, 40), np.float32)])]
    for wrong in (np.full((1, 40), 1.01), np.ones((40,)), np.full((1, 40), np.nan)):
        opener = {"wrong": lambda wrong=wrong: lambda inputs: {"out": wrong.astype(np.float32)}}
        with pytest.raises(parity.ParityError):
            parity.check(CONTRACT, opener, expected, "fp32")


@pytest.mark.parametrize("width", [16, 17])
def test_a_distilled_unet_is_told_its_guidance_as_diffusers_tells_it(width: int) -> None:
    """B-100: LCM checkpoints embed the guidance that they were distilled with."""
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    expected = theirs(None, torch.tensor([parts.DISTILLED_GUIDANCE - 1]), embedding_dim=width)
    torch.testing.assert_close(parts.guidance_embedding(parts.DISTILLED_GUIDANCE, width), expected)
    network = checkpoints.unet(32, time_cond_proj_dim=width)
    sample, timestep, text = torch.randn(2, 4, 5, 7), torch.tensor([[900.0], [20.0]]), torch.randn(2, 9, 32)
    with torch.no_grad():
        told = network(sample, timestep[:, 0], text, timestep_cond=expected.expand(2, -1)).sample
        torch.testing.assert_close(parts.UNet(network)(sample, timestep, text), told)


@pytest.mark.slow
def test_a_family_in_eight_bits_for_openvino(tmp_path: Path) -> None:
    """The target fixes the runtime; halved for TensorRT, the UNet still answers as it did."""
    source = locate(str(checkpoints.starter(tmp_path / "checkpoint")))
    order = Order("x", "openvino", "int8", tmp_path / "models", "python -m build_engines illustrate")
    plan = design(order, source)
    stages: list[tuple[str, str]] = []
    folders = build(order, plan, lambda *entered: stages.append(entered))
    assert len(stages) == 4 * len(folders) == 16
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert 'backend: "openvino"' in (folder / "config.pbtxt").read_text()
        assert set(manifest["backend_benchmark"]) == {"chosen", "threads", "openvino"}
        assert manifest["parity"]["limit"] == parity.LIMITS["int8"]

    engine = next(e for e in plan.engines if e.part == "unet")
    network = parts.wrap(plan.checkpoint, engine, parts.load(plan.checkpoint, "unet"))
    shapes = profile_shapes(engine)
    assert shapes["sample"] == [(1, 8, 8, 8), (2, 8, 16, 16), (16, 8, 24, 24)]
    assert shapes["encoder_hidden_states"] == [(1, 16, 32), (2, 16, 32), (16, 128, 32)]
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal(shape[1], dtype=np.float32) for name, shape in shapes.items()}
    path = tmp_path / "half" / "model.onnx"
    write_onnx(parts.halved(network), engine.contract, inputs, "fp32", path)
    initializers = onnx.load(str(path)).graph.initializer
    assert any(t.data_type == onnx.TensorProto.FLOAT16 for t in initializers)
    expected = parity.answers(network, engine.contract, [inputs])
    opener = {"onnxruntime": lambda: RUNTIMES["onnxruntime"](path, engine.contract)}
    assert parity.check(engine.contract, opener, expected, "fp16")["relative_rms_error"] > 1e-5
