"""Training of the starter family: going on where it stopped, its checkpoint, and who judges it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from mini_icons import TINY, icons
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from build_engines.mini import autoencoder, checkpoint, evaluate, latents, pictures
from build_engines.mini.autoencoder import AutoencoderLearner
from build_engines.mini.drawing import Painter
from build_engines.mini.flow import FlowLearner
from build_engines.mini.judge import JudgeLearner
from build_engines.mini.loop import Learner, Loop, Stop
from build_engines.mini.pictures import Pictures
from build_engines.mini.pipeline import Run

ORIGIN = {"command": "a test"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def drawn() -> Pictures:
    return pictures.render_all(icons())


@pytest.fixture(scope="module")
def painter(drawn: Pictures) -> Painter:
    """Untrained, but whole."""
    learner = AutoencoderLearner(TINY, drawn)
    flow = FlowLearner(TINY, drawn, latents.make(learner.model, drawn))
    return Painter(flow.average, learner.model.eval(), flow.tokenizer, flow.latents.scale)


def loop(path: Path, steps: int, stop: Stop | None = None) -> Loop:
    return Loop(path, steps, checkpoint_s=1e9, stop=stop or Stop())


def flow_learner(drawn: Pictures) -> FlowLearner:
    return FlowLearner(TINY, drawn, latents.make(AutoencoderLearner(TINY, drawn).model, drawn))


@pytest.mark.parametrize("make", [lambda d: AutoencoderLearner(TINY, d), flow_learner, JudgeLearner])
def test_a_resumed_training_equals_one_in_one_go(make: Any, drawn: Pictures, tmp_path: Path) -> None:
    whole, first, second = make(drawn), make(drawn), make(drawn)
    assert loop(tmp_path / "whole.pt", 4).run(whole)
    assert loop(tmp_path / "parts.pt", 2).run(first)
    assert loop(tmp_path / "parts.pt", 4).run(second)
    expected = dict(leaves(whole.state()))
    for name, found in leaves(second.state()):
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def leaves(state: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of nested state."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}.{name}", value
        elif isinstance(value, dict):
            yield from leaves(value, f"{prefix}.{name}")


class Interrupted:
    """A learner that is sent SIGTERM in its third step."""

    batch = 1

    def __init__(self, inner: Learner) -> None:
        self._inner = inner

    def step(self, n: int) -> float:
        if n == 2:
            signal.raise_signal(signal.SIGTERM)
        return self._inner.step(n)

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._inner.restore(state)


def test_sigterm_writes_a_checkpoint(drawn: Pictures, tmp_path: Path) -> None:
    stop, handler = Stop(), signal.getsignal(signal.SIGTERM)
    with stop.on_signals():
        finished = loop(tmp_path / "part.pt", 100, stop).run(Interrupted(AutoencoderLearner(TINY, drawn)))
    assert not finished
    assert signal.getsignal(signal.SIGTERM) is handler
    assert torch.load(tmp_path / "part.pt", weights_only=True)["step"] == 3
    rows = (tmp_path / "part.csv").read_text().splitlines()
    assert rows[0] == "samples,seconds,loss,pictures_per_s"
    assert rows[1].startswith("3,")


def test_a_time_limit_stops() -> None:
    assert Stop(minutes=0.0)()
    assert not Stop(minutes=1.0)()


def test_the_autoencoder_learns(drawn: Pictures) -> None:
    preset = replace(TINY, autoencoder=replace(TINY.autoencoder, samples=40_000, batch=8))
    learner = AutoencoderLearner(preset, drawn)
    losses = [learner.step(n) for n in range(60)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_training_the_decoder_leaves_the_encoder(drawn: Pictures) -> None:
    learner = AutoencoderLearner(TINY, drawn, decoder_only=True)
    encoder = {n: p.clone() for n, p in learner.model.encoder.state_dict().items()}
    decoder = {n: p.clone() for n, p in learner.model.decoder.state_dict().items()}
    learner.step(0)
    assert all(torch.equal(p, encoder[n]) for n, p in learner.model.encoder.state_dict().items())
    assert any(not torch.equal(p, decoder[n]) for n, p in learner.model.decoder.state_dict().items())


def test_latents_have_unit_size(drawn: Pictures) -> None:
    made = latents.make(AutoencoderLearner(TINY, drawn).model, drawn)
    assert made.values.shape == (len(made.variants), 4, 8, 8)
    assert float(np.mean(made.values.astype(np.float64) ** 2)) == pytest.approx(1.0, abs=0.01)


def test_the_checkpoint_loads_with_diffusers_own_classes(painter: Painter, tmp_path: Path) -> None:
    checkpoint.save(painter, tmp_path / "mini", ORIGIN)
    checkpoint.save(painter, tmp_path / "mini", ORIGIN)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "mini")
    assert isinstance(pipeline.vae, diffusers.AutoencoderTiny)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    assert isinstance(pipeline.tokenizer, PreTrainedTokenizerFast)
    assert isinstance(pipeline.scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
    assert pipeline.vae.config.scaling_factor == pytest.approx(painter.scale)
    assert {p.name for p in tmp_path.iterdir()} == {"mini"}


def test_our_drawing_is_what_diffusers_parts_draw(painter: Painter, tmp_path: Path) -> None:
    checkpoint.save(painter, tmp_path / "mini", ORIGIN)
    parts = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "mini")
    tokens = parts.tokenizer(["red apple, flat", ""], padding="max_length", return_tensors="pt")
    parts.scheduler.set_timesteps(4)
    sample = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 4, 8, 8), np.float32))
    with torch.no_grad():
        embeds = parts.text_encoder(tokens.input_ids).last_hidden_state
        for time in parts.scheduler.timesteps:
            guided, free = parts.unet(torch.cat([sample] * 2), time, embeds).sample.chunk(2)
            sample = parts.scheduler.step(free + 3.0 * (guided - free), time, sample).prev_sample
        expected = autoencoder.to_pixels(parts.vae.decode(sample / parts.vae.config.scaling_factor).sample)
    found = checkpoint.load(tmp_path / "mini").draw(["red apple, flat"], [5], steps=4)
    assert autoencoder.psnr(found, expected) > 40


def test_a_drawing_depends_on_its_own_seed_alone(painter: Painter) -> None:
    alone = painter.draw(["red apple, flat"], [3], steps=3)
    together = painter.draw(["blue kite, noto", "red apple, flat"], [4, 3], steps=3)
    assert autoencoder.psnr(alone, together[1:]) > 45


def test_a_missing_checkpoint_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="build_engines train mini"):
        checkpoint.load(tmp_path)


def test_a_missing_autoencoder_says_what_to_run(drawn: Pictures, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pictures, "load", lambda _: drawn)
    with pytest.raises(FileNotFoundError, match="stage `autoencoder`"):
        Run(TINY, Stop(), tmp_path).train(["latents"])


def test_all_stages_after_one_another(drawn: Pictures, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pictures, "load", lambda _: drawn)
    monkeypatch.setattr(pictures, "VALIDATION_SHARE", 0.3)
    tiny = replace(TINY, autoencoder=replace(TINY.autoencoder, decoder_samples=8))
    assert Run(tiny, Stop(), tmp_path).train(["autoencoder", "latents", "unet", "decoder"])
    assert (tmp_path / "checkpoint" / "model_index.json").is_file()
    origin = json.loads((tmp_path / "checkpoint" / "atelier.json").read_text())["origin"]
    assert origin["samples"] == {"autoencoder": 16, "unet": 32, "decoder": 8}
    assert origin["data"]["pictures"] == len(drawn.entries)
    assert {p.name for p in (tmp_path / "samples").iterdir()} >= {"autoencoder.png", "00000032.png"}
    assert Run(tiny, Stop(), tmp_path).train(["autoencoder", "latents", "unet"])


def test_the_judge_finds_real_pictures_and_not_noise(drawn: Pictures) -> None:
    learner = JudgeLearner(drawn, steps=25)
    for n in range(25):
        learner.step(n)
    cases = evaluate.CaseMaker(drawn, candidates=10).all()
    groups = [c.group for c in cases]  # a lemon in red and noto's penguin are held out
    assert {g: groups.count(g) for g in groups} == {"known": 11, "unseen colour": 1, "unseen style": 1}
    assert all(len(c.candidates) == 10 for c in cases)
    real = np.stack([drawn.draw(c.target) for c in cases])
    assert evaluate.recall(evaluate.ranks(learner.model, drawn, cases, real), 1) == 1.0
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    assert evaluate.recall(evaluate.ranks(learner.model, drawn, cases, noise), 1) < 0.5


def test_colour_cases_compete_with_the_same_object_in_other_colours(drawn: Pictures) -> None:
    index = next(i for i, e in enumerate(drawn.entries) if (e.name, e.set) == ("kite", "noto"))
    case = evaluate.CaseMaker(drawn, candidates=12)._recoloured(index, "red")
    assert case.caption == "red kite, noto"
    assert (case.target.index, case.target.colour) == (index, "red")
    assert sum(v.index == index for v in case.candidates) == 8


def test_the_evaluation_writes_its_table_and_sheets(
    drawn: Pictures, painter: Painter, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(pictures, "load", lambda _: drawn)
    checkpoint.save(painter, tmp_path / "checkpoint", ORIGIN)
    made = evaluate.evaluate(tmp_path, tmp_path / "checkpoint", judge_steps=2)
    assert made == json.loads((tmp_path / "evaluation.json").read_text())
    origin = json.loads((tmp_path / "checkpoint" / "atelier.json").read_text())["origin"]
    assert origin == ORIGIN | {"metrics": {name: row for name, row in made.items() if name.startswith("drawn")}}
    assert made["drawn: known"]["captions"] == 11
    assert made["drawn: unseen"]["captions"] == 2
    assert made["drawn in 8 steps: known"]["captions"] == 11
    assert "real, through the autoencoder: known" in capsys.readouterr().out
    assert (tmp_path / "known.webp").is_file()
    assert (tmp_path / "unseen.webp").is_file()
