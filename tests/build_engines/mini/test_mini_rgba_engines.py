"""The family of transparent pictures as engines: its checkpoint folder through the real command, and drawn."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mini_corpus import TINY_RGBA, corpus, vocabulary
from PIL import Image
from tokenizers import Tokenizer
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.mini import sheets
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.loop import Stop
from build_engines.mini.tokenizer import encode
from build_engines.mini.training import checkpoint, evaluation, latents
from build_engines.mini.training.autoencoder import AutoencoderLearner, to_pixels
from build_engines.mini.training.drawing import Painter
from build_engines.mini.training.flow import ConditionedDenoiser, FlowLearner
from build_engines.mini.training.judges import (
    CaptionJudgeLearner,
    PictureJudgeLearner,
    fits,
    kernel_distance,
    seen,
    shipped_judge,
)
from build_engines.mini.training.kept_weights import KeptWeights
from build_engines.mini.training.pipeline import Run
from build_engines.mini.training.text import TOKENS
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.service import Preview
from serve.settings import IllustratorSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Painter:
    known: Corpus = corpus()
    folder = tmp_path_factory.mktemp("latents")
    model = AutoencoderLearner(TINY_RGBA.autoencoder, known).model.eval()
    with torch.no_grad():
        for parameter in model.parameters():  # alike ones would be stored once
            parameter.add_(0.01 * torch.randn_like(parameter))
    assert latents.make(model, known, folder, Stop())
    encoded = latents.load(folder)
    learner = FlowLearner(TINY_RGBA.denoiser, known, encoded, vocabulary(known))
    for n in range(4):
        learner.step(n)
    return Painter(learner.average, model, learner.tokenizer, encoded.scale, (4, 8, 8))


@pytest.fixture(scope="module")
def repository(painter: Painter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rgba")
    known = corpus()
    judge = CaptionJudgeLearner(known, vocabulary(known), steps=1).model
    origin = {"data": "shapes", "samples": {"autoencoder": 8, "denoiser": 256}}
    stand_ins = {"kitten": "apple", "automobile": "<unk>"}
    checkpoint.save(painter, folder / "checkpoint", origin, judge, stand_ins)
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


def test_the_best_of_several_candidates_is_the_answer(repository: Path) -> None:
    async def draw() -> None:
        illustrator = Illustrator(IllustratorSettings(model_repository=repository, families=("tiny",)))
        await illustrator.start()
        try:
            assert (await illustrator.families())[0].judges
            options = IllustrateOptions("red apple", seed=3, num_inference_steps=2, n=2, candidates=3, preview_every=1)
            previews, drawn = [], None
            async for item in illustrator.stream(options):
                if isinstance(item, Preview):
                    previews.append(item.index)
                elif isinstance(item, Illustration):
                    drawn = item
            assert drawn is not None
            first, second = drawn.pictures
            assert (first.seed in (3, 4, 5), second.seed in (6, 7, 8)) == (True, True)
            assert drawn.parameters.seed == first.seed
            assert sorted(previews) == [0, 1]
            alone = await illustrator.draw(IllustrateOptions("red apple", seed=first.seed, num_inference_steps=2))
            assert np.abs(alone.pictures[0].pixels.astype(int) - first.pixels).max() <= 2
            others = [IllustrateOptions("red apple", seed=s, num_inference_steps=2, candidates=2) for s in (3, 4)]
            fits = [(await illustrator.draw(o)).pictures[0].fit for o in others]
            assert first.fit == pytest.approx(max(f for f in fits if f is not None), abs=1e-4)
        finally:
            await illustrator.close()

    asyncio.run(draw())


def test_sheets_show_what_the_engines_draw_and_its_svgs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Vectorizer has its own tests; here its SVGs are the drawings."""
    monkeypatch.setattr(sheets, "_rendered", list)
    drawn, svgs = sheets.write_sheets(repository, tmp_path, ["red apple", "kitten"], "tiny")
    assert (drawn.name, svgs.name) == ("tiny.webp", "tiny_svg.webp")
    assert Image.open(drawn).size == (10 * 136, 158)
    assert Image.open(svgs).size == (10 * 200, 222)


def test_a_loaded_checkpoint_draws_alike_and_is_not_saved_again(
    painter: Painter, repository: Path, tmp_path: Path
) -> None:
    loaded = checkpoint.load(repository.parent / "checkpoint")
    assert checkpoint.holds_rgba(repository.parent / "checkpoint")
    prompts = ["red apple", "kitten"]
    wanted, made = painter.draw_all(prompts, [1, 2], chunk=1), loaded.draw_all(prompts, [1, 2])
    assert np.abs(wanted.astype(int) - made).mean() < 1
    with pytest.raises(TypeError, match="vector"):
        checkpoint.save(loaded, tmp_path / "checkpoint", {})


def test_evaluation_has_every_group(painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = corpus()
    monkeypatch.setattr(evaluation, "PictureJudgeLearner", lambda c: PictureJudgeLearner(c, steps=2, batch=4))
    monkeypatch.setattr(evaluation, "PROMPTS", ("red apple", "kitten"))
    cases = evaluation.CaseMaker(known, candidates=4).all(per_group=3)
    assert {c.group for c in cases} >= {"known"}
    assert all(len(set(c.candidates)) == len(c.candidates) for c in cases)
    judge = CaptionJudgeLearner(known, vocabulary(known), steps=1)
    best = evaluation.best_of(painter.draw_all, judge.model, judge.tokenizer, 2)
    table = evaluation.evaluate(tmp_path, known, painter.draw_all, "checkpoint", 2, {"best-of-2": best})
    assert 0 <= table["best-of-2: known"]["R@1"] <= 1
    assert (tmp_path / "prompts-best-of-2.png").is_file()
    assert 0 <= table["drawn: known"]["R@1"] <= 1
    assert (tmp_path / "prompts-checkpoint.png").is_file()
    assert (tmp_path / "prompts-checkpoint-numbered.png").is_file()
    assert "a hot dog" in (tmp_path / "prompts-checkpoint-list.txt").read_text()


def test_a_caption_judge_learns_which_picture_is_meant() -> None:
    known = corpus()
    words = vocabulary(known)
    learner = CaptionJudgeLearner(known, words, steps=60, batch=8)
    losses = [learner.step(n) for n in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    captions = ["red apple", "yellow lemon"]
    fit = fits(learner.model, learner.tokenizer, known.pixels[:2], captions)
    shipped = fits(shipped_judge(learner.model), learner.tokenizer, known.pixels[:2], captions)
    np.testing.assert_allclose(shipped, fit, atol=1e-5)
    assert fit.shape == (2,)
    assert np.all(np.abs(fit) <= 1.001)


def test_judge_engine_scores_pictures_and_prompts(repository: Path) -> None:
    session = onnxruntime.InferenceSession(str(repository / "tiny_judge" / "1" / "model.onnx"))
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    ids = np.tile(np.asarray([1, 5, 2, *[0] * 13], np.int32), (3, 1))
    fit = session.run(["fit"], {"image": image, "input_ids": ids})[0]
    assert fit.shape == (3, 1)
    assert np.all((fit >= 0) & (fit <= 1))
    assert json.loads((repository / "tiny_unet" / "manifest.json").read_text())["family"]["judge"]["side_px"] == 64


def test_kernel_distance_is_least_for_alike_sets() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((60, 8)).astype(np.float32) + shift for shift in (0, 0, 1))
    assert abs(kernel_distance(a, b)) < kernel_distance(a, c)
    assert kernel_distance(a, a) == pytest.approx(0.0, abs=1e-6)


def test_engines_and_kept_words_begin_another_run(painter: Painter, repository: Path, tmp_path: Path) -> None:
    known = corpus()
    kept = KeptWeights(repository, tmp_path / "words.safetensors", "tiny")
    assert not kept
    kept.save(painter.model)
    assert kept
    assert kept.samples("denoiser") == 256
    model = ConditionedDenoiser(TINY_RGBA.denoiser, vocabulary(known), 4, 8).eval()
    kept.load_denoiser(model, painter.tokenizer)
    ids = torch.tensor([[1, 9, 10, 11, 2, *[0] * 11]])
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([500.0])
    with torch.no_grad():
        made, wanted = model(noisy, times, ids), painter.model(noisy, times, ids)
    assert float((made - wanted).abs().mean() / wanted.abs().mean()) < 0.05
    other = replace(TINY_RGBA.denoiser, widths=(16, 16))
    with pytest.raises(ValueError, match="no weights"):
        kept.load_denoiser(ConditionedDenoiser(other, vocabulary(known), 4, 8), painter.tokenizer)
    facts = {"entries": [vars(e) for e in known.entries], "concepts": {k: vars(c) for k, c in known.concepts.items()}}
    (tmp_path / "pictures.json").write_text(json.dumps(facts))
    np.save(tmp_path / "pictures.npy", known.pixels)
    run = Run(TINY_RGBA, Stop(), tmp_path, kept=kept)
    assert run.train(("autoencoder",))
    assert run.origin()["samples"] == {"autoencoder": 8, "denoiser": 256}
    vocabulary(known).save(tmp_path)
    judge, shipped = run.finished_judge(), Tokenizer.from_file(str(repository / "tiny_text_encoder" / "tokenizer.json"))
    assert judge is not None
    captions = ["red apple", "yellow lemon"]
    session = onnxruntime.InferenceSession(str(repository / "tiny_judge" / "1" / "model.onnx"))
    ids = encode(shipped, captions, TOKENS).astype(np.int32)
    fit = session.run(["fit"], {"image": seen(known.pixels[:2]), "input_ids": ids})[0][:, 0]
    np.testing.assert_allclose(fits(judge, painter.tokenizer, known.pixels[:2], captions), 2 * fit - 1, atol=0.02)
    first, wanted = run.finished_autoencoder().decoder[0].weight, painter.autoencoder.decoder[0].weight
    assert float((first - wanted).detach().abs().mean() / wanted.detach().abs().mean()) < 0.05
