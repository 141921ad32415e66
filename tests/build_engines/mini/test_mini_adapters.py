"""Adapters of the starter family: what training begins from, one step of each kind, and the files that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.illustrate.adapters import adaptable_layers
from build_engines.illustrate.image_prompts import ImagePromptAttention, load_image_prompt
from build_engines.illustrate.shared_weights import share_weights
from build_engines.mini.adapters import corpus as corpora
from build_engines.mini.adapters import kinds
from build_engines.mini.adapters.corpus import Corpus
from build_engines.mini.adapters.read_back import read_painter
from build_engines.mini.adapters.styles import STYLES
from build_engines.mini.drawing import Painter
from build_engines.mini.pictures import Entry, Pictures
from serve.diffusion.adapters import EngineAdapters
from serve.diffusion.lora import parse_lora

NAMES = (("banana", "yellow"), ("red-apple", None))


@pytest.fixture
def painter() -> Painter:
    return read_painter(MODEL_REPOSITORY)


@pytest.fixture(scope="module")
def icons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pictures, Path]:
    """Two things, as two sets draw them."""
    pixels = np.full((4, 64, 64, 3), 255, np.uint8)
    for i, colour in enumerate(((255, 210, 40), (240, 200, 30), (220, 40, 40), (200, 30, 30))):
        pixels[i, 12 + i : 50, 14 : 52 - i] = colour
    sets = ("fluent-emoji-flat", "noto")
    entries = tuple(Entry(one, name, colour) for name, colour in NAMES for one in sets)
    return Pictures(pixels, entries), tmp_path_factory.mktemp("latents")


def test_the_checkpoint_is_what_the_engines_compute(painter: Painter) -> None:
    rng = np.random.default_rng(0)
    inputs = {
        "sample": rng.standard_normal((2, 16, 8, 8), np.float32),
        "timestep": np.array([[500.0], [20.0]], np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 24, 256), np.float32),
    }
    session = onnxruntime.InferenceSession(str(MODEL_REPOSITORY / "mini_unet" / "1" / "model.onnx"))
    expected = session.run(None, inputs)[0]
    with torch.no_grad():
        sample, timestep, states = map(torch.from_numpy, inputs.values())
        found = painter.denoiser.unet(sample, timestep[:, 0], states).sample.numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert painter.scale == pytest.approx(0.98565, abs=1e-4)


def corpus_of(icons: tuple[Pictures, Path], painter: Painter, style: str | None) -> Corpus:
    path = icons[1] / f"{style}.npy"
    return corpora.make(icons[0], painter.autoencoder, painter.scale, path, STYLES.get(style or ""))


@pytest.mark.parametrize("name", ["canny", "ip", "blueprint"])
def test_a_step_changes_the_adapter_and_nothing_else(
    name: str, painter: Painter, icons: tuple[Pictures, Path], tmp_path: Path
) -> None:
    painter.denoiser.requires_grad_(False)
    adapter = kinds.ADAPTERS[name]
    own = list(painter.denoiser.parameters())
    before = [parameter.detach().clone() for parameter in own]
    learner = adapter.learner(painter, corpus_of(icons, painter, adapter.style))
    losses = [learner.step(n) for n in range(2)]
    assert np.isfinite(losses).all()
    assert all(torch.equal(a, b) for a, b in zip(before, own, strict=True))
    model = learner.settle()
    assert any(bool(p.any()) for p in learner.trained)
    model.save(tmp_path / adapter.kept)
    if name == "blueprint":
        layers = {group: tuple(found) for group, found in adaptable_layers(painter.denoiser.unet).items()}
        takes = {"unet": EngineAdapters(layers=layers)}
        lora = parse_lora((tmp_path / adapter.kept).read_bytes(), takes, "mini")
        assert lora.rank == 8
    elif name == "ip":
        painter.autoencoder.save_pretrained(tmp_path / "encoder")
        unet = read_painter(MODEL_REPOSITORY).denoiser.unet
        prompt = load_image_prompt(unet, tmp_path / adapter.kept, tmp_path / "encoder")
        assert (prompt.tokens, prompt.width, prompt.side_px, len(prompt.blocks)) == (64, 256, 64, 7)
        assert isinstance(unet.get_submodule(prompt.blocks[0]).processor, ImagePromptAttention)
        assert torch.equal(prompt.encoder.projection.norm.weight, model.projection.norm.weight)
    else:
        assert (tmp_path / adapter.kept / "config.json").is_file()


def test_styles_draw_what_the_base_does_not(icons: tuple[Pictures, Path]) -> None:
    drawn = {name: style(icons[0].pixels[0]) for name, style in STYLES.items()}
    assert drawn["blueprint"][0, 0].tolist() == [24, 66, 150]  # the paper
    assert drawn["riso"][0, 0].tolist() == [250, 240, 214]
    assert drawn["blueprint"][30, 13:15].min(axis=1).max() > 200  # an edge
    assert all(one.dtype == np.uint8 and one.shape == (64, 64, 3) for one in drawn.values())


def test_weights_in_common_are_stored_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    both, own = (rng.standard_normal((40, 40)).astype(np.float32) for _ in range(2))

    def model(*weights: np.ndarray) -> onnx.ModelProto:
        names = [f"w{i}" for i in range(len(weights))]
        nodes = [onnx.helper.make_node("MatMul", ["x" if i == 0 else f"y{i - 1}", name], [f"y{i}"])
                 for i, name in enumerate(names)]  # fmt: skip
        ends = [onnx.helper.make_tensor_value_info(one, 1, [1, 40]) for one in ("x", f"y{len(names) - 1}")]
        tensors = [onnx.numpy_helper.from_array(array, name) for array, name in zip(weights, names, strict=True)]
        graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
        return onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)])

    onnx.save_model(model(own, both), str(tmp_path / "model.onnx"))
    second = model(both, both.T.copy())
    assert share_weights(second, tmp_path / "model.onnx") == both.nbytes
    (tmp_path / "adapted.onnx").write_bytes(second.SerializeToString())
    assert (tmp_path / "adapted.onnx").stat().st_size < 1.2 * both.nbytes
    x = rng.standard_normal((1, 40)).astype(np.float32)
    answer = onnxruntime.InferenceSession(str(tmp_path / "adapted.onnx")).run(None, {"x": x})[0]
    assert np.allclose(answer, x @ both @ both.T, atol=1e-3)
