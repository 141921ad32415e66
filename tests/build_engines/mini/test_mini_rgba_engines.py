"""The family of transparent pictures as engines: its checkpoint folder through the real command, and drawn."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mini_corpus import TINY_RGBA, corpus, vocabulary
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.loop import Stop
from build_engines.mini.training import checkpoint, latents
from build_engines.mini.training.autoencoder import AutoencoderLearner, to_pixels
from build_engines.mini.training.drawing import Painter
from build_engines.mini.training.flow import FlowLearner
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Painter:
    known: Corpus = corpus()
    folder = tmp_path_factory.mktemp("latents")
    model = AutoencoderLearner(TINY_RGBA.autoencoder, known).model.eval()
    assert latents.make(model, known, folder, Stop())
    encoded = latents.load(folder)
    learner = FlowLearner(TINY_RGBA.denoiser, known, encoded, vocabulary(known))
    for n in range(4):
        learner.step(n)
    return Painter(learner.average, model, learner.tokenizer, encoded.scale, (4, 8, 8))


@pytest.fixture(scope="module")
def repository(painter: Painter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rgba")
    checkpoint.save(painter, folder / "checkpoint", {"data": "shapes"})
    arguments = ["illustrate", "--source", str(folder / "checkpoint"), "--name", "tiny", "--precision", "int8"]
    result = CliRunner().invoke(app, [*arguments, "--repository", str(folder / "repository")])
    assert result.exit_code == 0, result.output
    return folder / "repository"


def test_decoder_engine_answers_straight_alpha(painter: Painter, repository: Path) -> None:
    session = onnxruntime.InferenceSession(str(repository / "tiny_vae_decoder" / "1" / "model.onnx"))
    noise = np.random.default_rng(0).standard_normal((2, 4, 8, 8), np.float32)
    made = session.run(["image"], {"latents": noise})[0]
    with torch.no_grad():
        wanted = to_pixels(painter.autoencoder.decoder(torch.from_numpy(noise) / painter.scale))
    assert made.shape == (2, 128, 128, 4)
    visible = wanted[..., 3] > 64
    assert np.abs(made.astype(int) - wanted)[visible].mean() < 4
    manifest = json.loads((repository / "tiny_unet" / "manifest.json").read_text())
    assert manifest["family"]["alpha"]
    assert manifest["family"]["latents"] == {"channels": 4, "downsample": 16}


def test_engines_draw_what_the_painter_draws(painter: Painter, repository: Path) -> None:
    async def draw() -> np.ndarray:
        illustrator = Illustrator(IllustratorSettings(model_repository=repository, families=("tiny",)))
        await illustrator.start()
        try:
            drawn = await illustrator.draw(IllustrateOptions("red apple", seed=3, num_inference_steps=4))
            assert (await illustrator.families())[0].alpha
        finally:
            await illustrator.close()
        return drawn.pictures[0].pixels

    made = asyncio.run(draw())
    assert made.shape == (128, 128, 4)


def test_only_a_hybrid_becomes_engines(painter: Painter, tmp_path: Path) -> None:
    other = Painter(
        torch.nn.Module(),
        painter.autoencoder,
        painter.tokenizer,
        painter.scale,
        painter.latent_shape,  # type: ignore[arg-type]
    )
    other.model.denoiser = torch.nn.Linear(1, 1)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="hybrid"):
        checkpoint.save(other, tmp_path / "checkpoint", {})
