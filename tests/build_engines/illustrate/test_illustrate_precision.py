"""B-071: how weights are stored, what that costs, and files too large for one protobuf message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

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
from build_engines.illustrate.checkpoint import open_checkpoint
from build_engines.illustrate.contracts import Engine
from build_engines.illustrate.design import BuildOptions, Design, design
from build_engines.illustrate.examples import Examples
from build_engines.illustrate.onnx_file import write_onnx
from build_engines.illustrate.precision import Precision, quantise
from build_engines.illustrate.refusal import Refused
from build_engines.illustrate.sizes import sizes_of
from build_engines.illustrate.source import locate
from build_engines.illustrate.tensorrt import build_plan, open_plan, profile_shapes


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
    served = tmp_path / "view"
    served.mkdir()
    (served / "1").symlink_to(path.parent)  # as `manifests.lay_out` shows a version to Triton
    for opener in RUNTIMES.values():
        for file in (path, served / "1" / "model.onnx"):
            np.testing.assert_allclose(opener(file, CONTRACT)(ids(3, 5))["out"], expected[0][1][0], atol=1e-5)


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
    """The target fixes the runtime."""
    source = locate(str(checkpoints.starter(tmp_path / "checkpoint")))
    build_options = BuildOptions("x", "openvino", "int8", tmp_path / "models", "python -m build_engines illustrate")
    plan = design(build_options, source)
    stages: list[tuple[str, str]] = []
    folders = build(build_options, plan, lambda *entered: stages.append(entered))
    assert len(stages) == 4 * len(folders) == 16
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert 'backend: "openvino"' in (folder / "config.pbtxt").read_text()
        assert set(manifest["backend_benchmark"]) == {"chosen", "threads", "openvino"}
        assert manifest["parity"]["limit"] == parity.LIMITS["int8"]


def parts_of(kind: Callable[[Path], Path], folder: Path) -> Iterator[tuple[Design, Engine, nn.Module]]:
    """Each engine of a random checkpoint of ``kind`` for TensorRT, with its network."""
    build_options = BuildOptions("x", "tensorrt", "fp16", folder / "models", "python -m build_engines illustrate")
    plan = design(build_options, locate(str(kind(folder / "checkpoint"))))
    for engine in plan.engines:
        yield plan, engine, parts.wrap(plan.checkpoint, engine, parts.load(plan.checkpoint, engine.component))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [checkpoints.stable_diffusion_15, checkpoints.stable_diffusion_xl])
def test_float16_parts_are_well_typed_and_equal_their_networks(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    """As strongly typed TensorRT reads them: ONNX Runtime refuses a graph of mixed types as well."""
    for plan, engine, network in parts_of(kind, tmp_path):
        tokenizer = plan.tokenizers.get(engine.part) or next(iter(plan.tokenizers.values()))
        examples = Examples(engine, tokenizer, plan.timesteps)
        path = tmp_path / engine.part / "model.onnx"
        half = parts.half_precision(network, plan.checkpoint.family_class)
        write_onnx(half, engine.contract, examples.traced(), "fp32", path)
        graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
        types = {t.name: t.data_type for t in graph.initializer}
        in_float32 = engine.part.startswith("vae") and kind is checkpoints.stable_diffusion_xl
        assert (onnx.TensorProto.FLOAT16 in types.values()) is not in_float32, engine.part
        types |= {v.name: v.type.tensor_type.elem_type for v in graph.value_info}
        norms = [n for n in graph.node if n.op_type in ("InstanceNormalization", "LayerNormalization")]
        assert {types[node.input[0]] for node in norms} == {onnx.TensorProto.FLOAT}, engine.part
        assert onnx.TensorProto.DOUBLE not in types.values()
        expected = parity.answers(network, engine.contract, examples.parity())
        opener = {"onnxruntime": partial(RUNTIMES["onnxruntime"], path, engine.contract)}
        parity.check(engine.contract, opener, expected, "fp16")


def test_the_profile_of_a_plan_ends_at_the_largest_batch_and_side(tmp_path: Path) -> None:
    """A plan reserves the memory of its largest shape, so its sides end sooner than those of a CPU's engines."""
    checkpoint = open_checkpoint(locate(str(checkpoints.starter(tmp_path / "checkpoint"))))
    assert sizes_of(checkpoint).max_px == 96
    assert sizes_of(checkpoint, "tensorrt", max_side_px=80).max_px == 80
    plan = design(BuildOptions("x", "tensorrt", "fp16", tmp_path, "", max_side_px=80, max_batch=4), checkpoint.source)
    shapes = {engine.part: profile_shapes(engine) for engine in plan.engines}
    assert shapes["unet"]["sample"] == [(1, 8, 8, 8), (2, 8, 16, 16), (4, 8, 20, 20)]
    assert shapes["unet"]["encoder_hidden_states"] == [(1, 16, 32), (2, 16, 32), (4, 128, 32)]
    assert shapes["vae_decoder"]["latents"][-1] == (4, 8, 20, 20)
    default = checkpoints.stable_diffusion_15(tmp_path / "no_sizes")
    sides = [sizes_of(open_checkpoint(locate(str(default))), target).max_px for target in ("onnx", "tensorrt")]
    assert sides[1] == sides[0] * 3 // 4
    with pytest.raises(Refused, match="--max-side"):
        sizes_of(checkpoint, max_side_px=81)


class TensorRT:
    """As much of the package as `build_plan` and `open_plan` touch; ``failing`` names the call that fails."""

    __version__ = "10.5.0"

    def __init__(self, failing: str = "") -> None:
        self.cleared: list[str] = []
        fails = failing.__eq__
        self.Logger = Mock(WARNING=2)
        self.NetworkDefinitionCreationFlag = Mock(STRONGLY_TYPED=1)
        self.MemoryPoolType, self.BuilderFlag = Mock(), SimpleNamespace(TF32="TF32")
        self.OnnxParser = Mock()
        self.OnnxParser().parse_from_file.return_value = not fails("parse")
        self.OnnxParser().num_errors = 0
        self.Builder = Mock()
        config = self.Builder().create_builder_config()
        config.clear_flag = self.cleared.append
        config.add_optimization_profile.return_value = -1 if fails("profile") else 0
        self.Builder().build_serialized_network.return_value = None if fails("build") else b"plan"
        self.Runtime = Mock()
        engine = None if fails("read") else SimpleNamespace(device_memory_size_v2=3 * 2**30)
        self.Runtime().deserialize_cuda_engine.return_value = engine
        if engine is not None:
            engine.create_execution_context = lambda: None


ENGINE = Engine("unet", CONTRACT, {"length": 1}, {"length": 3}, {"length": 4}, {"length": 9})


@pytest.mark.parametrize("tf32", [True, False])
def test_a_plan_of_float32_multiplies_with_all_its_bits(tf32: bool, tmp_path: Path) -> None:
    module = TensorRT()
    build_plan(module, tmp_path / "model.onnx", ENGINE, tmp_path / "model.plan", tf32=tf32)
    assert (tmp_path / "model.plan").read_bytes() == b"plan"
    assert module.cleared == ([] if tf32 else ["TF32"])


@pytest.mark.parametrize(
    ("failing", "reason"),
    [("parse", "cannot read small"), ("profile", "refuses the sizes of small"), ("build", "--max-side")],
)
def test_a_plan_that_cannot_be_built_is_refused(failing: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=reason):
        build_plan(TensorRT(failing), tmp_path / "model.onnx", ENGINE, tmp_path / "model.plan", tf32=False)


@pytest.mark.parametrize(("failing", "reason"), [("read", "cannot read the plan"), ("", r"reserves 3\.0 GiB")])
def test_a_plan_that_the_gpu_cannot_hold_is_refused(
    failing: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.plan").write_bytes(b"plan")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(Refused, match=reason):
        open_plan(TensorRT(failing), tmp_path / "model.plan", ENGINE)
