"""The stages of training in order; each keeps its results in a folder and is skipped when they are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from build_engines.data.packages import path_of
from build_engines.mini.corpus import neighbours, pictures, vectors
from build_engines.mini.corpus.captions import caption_words
from build_engines.mini.corpus.pictures import Corpus, Rgba
from build_engines.mini.corpus.sets import WORDNET, attribution, install_sources
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.corpus.wordnet import load
from build_engines.mini.loop import Every, Loop, Stop, samples_of
from build_engines.mini.tokenizer import make_tokenizer
from build_engines.mini.training import autoencoder, captions, checkpoint, latents
from build_engines.mini.training.autoencoder import AutoencoderLearner
from build_engines.mini.training.drawing import Painter, save_sheet
from build_engines.mini.training.few_step import FewStepLearner
from build_engines.mini.training.flow import ConditionedDenoiser, FlowLearner
from build_engines.mini.training.judges import CaptionJudge, CaptionJudgeLearner
from build_engines.mini.training.kept_weights import KeptWeights
from build_engines.mini.training.networks import RgbaAutoencoder, make_autoencoder
from build_engines.mini.training.presets import DenoiserPreset, TrainingPreset

STAGES = ("data", "autoencoder", "latents", "denoiser", "polish", "few_step", "mix", "decoder", "judge", "keep")
DEFAULT_STAGES = STAGES[:4]
_MIXED = {"text_encoder.": 0.5, "denoiser.": 0.3}
"""The share of the engines' weights in the mixture, by the beginning of names."""
_GROUND = (205, 222, 240)
"""The colour that sheets lay transparent pictures on."""


@dataclass
class Run:
    """``folder`` keeps everything; ``stop`` ends a stage early, which the same run goes on from."""

    preset: TrainingPreset
    stop: Stop
    folder: Path
    compiled: bool = False
    processes: int = 1
    kept: KeptWeights | None = None
    """What the networks begin with, where ``folder`` has none yet; the stage `keep` writes what engines do not hold."""

    def train(self, stages: Sequence[str] = DEFAULT_STAGES) -> bool:
        """Runs the stages; whether all of them are finished."""
        return all(getattr(self, f"_{stage}")() for stage in stages)

    @property
    def corpus(self) -> Corpus:
        return pictures.load(self.folder)

    def _loop(self, name: str, steps: int, *every: Every) -> Loop:
        return Loop(self.folder / f"{name}.pt", steps, self.preset.checkpoint_s, self.stop, every)

    def _data(self) -> bool:
        if not (self.folder / "pictures.json").is_file():
            install_sources(self.folder / "sources")
            pictures.make(self.folder / "sources", self.folder, self.processes)
        self._write_origin(self.folder / "origin.json")
        print(f"data: {len(self.corpus.entries)} pictures", flush=True)
        return True

    def _write_origin(self, path: Path) -> None:
        path.write_text(json.dumps(self.origin(), indent=2) + "\n")

    def origin(self) -> dict[str, Any]:
        """What the weights are made of and how much they have seen, for the manifests of engines."""
        entries = self.corpus.entries
        stages = ("autoencoder", "denoiser", "polish", "few_step", "decoder", "chooser")
        seen = {stage: self._seen(stage) for stage in stages}
        return {
            "data": {
                "sources": attribution(),
                "pictures": len(entries),
                "never_shown": len(entries) - sum(e.trained for e in entries),
            },
            "words": "embeddings are a trained projection of GloVe word vectors, with trained residuals",
            "command": f"python -m build_engines train mini --preset {self.preset.name}",
            "seed": self.preset.seed,
            "samples": {stage: samples for stage, samples in seen.items() if samples},
        }

    def _seen(self, stage: str) -> int:
        """Pictures of training, those of an earlier folder's weights included."""
        log = self.folder / f"{stage}.csv"
        if log.is_file():
            return samples_of(log)
        return self.kept.samples(stage) if self.kept else 0

    def _autoencoder(self) -> bool:
        learner = AutoencoderLearner(self.preset.autoencoder, self.corpus, device=self.preset.device)
        if self.kept and not (self.folder / "autoencoder.pt").is_file():
            self.kept.load_autoencoder(learner.model)
            self._loop("autoencoder", learner.steps).finish(learner)
        report = Every(self.preset.sheet_s, lambda n: self._report_autoencoder("autoencoder", learner, n))
        return self._loop("autoencoder", learner.steps, report).run(learner)

    def _report_autoencoder(self, name: str, learner: AutoencoderLearner, step: int) -> None:
        """Prints the PSNR on unseen icons and writes some of them above their reconstructions."""
        unseen = pictures.unseen(self.corpus)[:60]
        made = autoencoder.reconstruct(learner.model, unseen)
        print(f"{name}: step {step}, PSNR of unseen icons {autoencoder.psnr(made, unseen):.2f} dB", flush=True)
        pairs = [np.vstack([a, b]) for a, b in zip(unseen, made, strict=True)]
        rows = [np.hstack(pairs[i : i + 15]) for i in range(0, len(pairs) // 15 * 15, 15)]
        save_picture(np.vstack(rows or pairs), self.folder / "samples" / f"{name}.png")

    def finished_autoencoder(self) -> RgbaAutoencoder:
        """With the best decoder there is. Raises FileNotFoundError before the stage `autoencoder`."""
        model = make_autoencoder(self.preset.autoencoder)
        paths = [p for p in (self.folder / "decoder.pt", self.folder / "autoencoder.pt") if p.is_file()]
        if not paths:
            raise FileNotFoundError(f"no autoencoder in {self.folder}: run the stage `autoencoder` first")
        model.load_state_dict(torch.load(paths[0], map_location="cpu", weights_only=True)["learner"]["model"])
        model.to(self.preset.device).eval()
        return model

    def _latents(self) -> bool:
        """The icons as they are; recoloured and mirrored ones too once the denoiser has seen ``plain_samples``."""
        plain = self._seen("denoiser") < self.preset.plain_samples
        parts = (latents.PLAIN,) if plain else (latents.PLAIN, latents.MORE)
        model = self.finished_autoencoder()
        finished = all(latents.make(model, self.corpus, self.folder, self.stop, part, self.processes) for part in parts)
        print(f"latents: {' and '.join(parts)}, {'all' if finished else 'not all'} are encoded", flush=True)
        return finished

    def vocabulary(self) -> Vocabulary:
        """Made from the concepts when it is not there yet; later captions do not change it."""
        if not (self.folder / "words.json").is_file():
            words = caption_words(list(self.corpus.concepts.values()))
            vectors.make(self.folder / "sources", words).save(self.folder)
        return vectors.read(self.folder)

    def _stand_ins(self) -> dict[str, str]:
        """Where no sources are, as in a run on drawn shapes, none."""
        if not (self.folder / "sources").is_dir():
            return {}
        wordnet = load(path_of(self.folder / "sources", WORDNET) / "dict")
        return neighbours.stand_ins(self.vocabulary(), self.corpus, wordnet)

    def flow_learner(self, preset: DenoiserPreset | None = None, kind: type[FlowLearner] = FlowLearner) -> FlowLearner:
        """``preset``: that of the stage `denoiser` when None."""
        preset, encoded = preset or self.preset.denoiser, latents.load(self.folder)
        words, seed = self.vocabulary(), self.preset.seed
        tokenizer = make_tokenizer(words.words)
        ids = captions.kept(self.folder, self.corpus, encoded.variants, tokenizer, preset, seed, self.processes)
        return kind(preset, self.corpus, encoded, words, seed, self.compiled, self.preset.device, ids)

    def _denoiser(self) -> bool:
        learner = self.flow_learner()
        print(f"denoiser: {learner.parameters / 1e6:.1f} M parameters with the text encoder's", flush=True)
        if learner.explained is not None:
            print(f"denoiser: its components hold {learner.explained:.2%} of the variance of the latents", flush=True)
        loop = self._loop("denoiser", learner.steps, self._sheets(learner))
        if self.kept and not (self.folder / "denoiser.pt").is_file():
            self.kept.load_denoiser(learner.model, learner.tokenizer)
            learner.average.load_state_dict(learner.model.state_dict())
            loop.done = learner.first = self.kept.samples("denoiser") // learner.batch
        return loop.run(learner)

    def _polish(self) -> bool:
        """Trains the averaged weights on, on clean pictures and captions."""
        learner = self.flow_learner(self.preset.polish)
        if not (self.folder / "polish.pt").is_file():
            learner.begin_with(self._trained("denoiser"))
        return self._loop("polish", learner.steps, self._sheets(learner, "denoiser")).run(learner)

    def _few_step(self) -> bool:
        """Teaches the averaged weights of the second stage, or of the first where there is none, long steps."""
        wanted = self.preset.few_step.samples // self.preset.few_step.batch * self.preset.few_step.batch
        if (self.folder / "few_step.pt").is_file() and self._seen("few_step") >= wanted:
            return True
        learner = self.flow_learner(self.preset.few_step, FewStepLearner)
        assert isinstance(learner, FewStepLearner)
        if not learner.teach(self._trained("polish", "denoiser"), self.stop):
            return False
        return self._loop("few_step", learner.steps, self._sheets(learner, "denoiser", "polish")).run(learner)

    def _sheets(self, learner: FlowLearner, *before: str) -> Every:
        """``before``: the stages whose pictures count as seen."""
        seen = sum(self._seen(stage) for stage in before)
        return Every(self.preset.sheet_s, lambda n: self._draw(learner, seen + n * learner.batch, n >= learner.steps))

    def _trained(self, *stages: str) -> dict[str, Any]:
        """The state of the learner of the first of ``stages`` that has a file."""
        paths = [p for p in (self.folder / f"{stage}.pt" for stage in stages) if p.is_file()]
        if not paths:
            raise FileNotFoundError(f"no denoiser in {self.folder}: run the stage `denoiser` first")
        state: dict[str, Any] = torch.load(paths[0], map_location="cpu", weights_only=True)["learner"]
        return state

    def _mix(self) -> bool:
        """Mixes the weights with those of the engines that they were trained on from, and writes ``checkpoint``.

        What is trained on draws better what captions name and understands other prompts worse; weights between the two
        keep most of both (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
        """
        if not self.kept:
            raise ValueError("no engines to mix the weights with")
        if (self.folder / "mix.pt").is_file():
            return True
        tokenizer = make_tokenizer(self.vocabulary().words)
        earlier = self._empty_denoiser()
        self.kept.load_denoiser(earlier, tokenizer)
        other, mixed = earlier.state_dict(), self._trained("few_step", "polish", "denoiser")["average"]
        for name, share in _MIXED.items():
            mixed |= {k: torch.lerp(mixed[k], other[k], share) for k in mixed if k.startswith(name)}
        torch.save({"step": 1, "seconds": 0.0, "learner": {"average": mixed}}, self.folder / "mix.pt")
        model, autoencoder = self._empty_denoiser(), self.finished_autoencoder().to("cpu")
        model.load_state_dict(mixed)
        shape = (self.preset.autoencoder.channels, self.preset.autoencoder.side, self.preset.autoencoder.side)
        painter = Painter(model.eval(), autoencoder, tokenizer, latents.scale(self.folder), shape)
        few_step = (self.folder / "few_step.pt").is_file()
        origin = self.origin() | {"mixed": {"earlier": self.kept.samples("denoiser"), "shares": _MIXED}}
        checkpoint.save(painter, self.folder / "checkpoint", origin, self.finished_judge(), self._stand_ins(), few_step)
        return True

    def _empty_denoiser(self) -> ConditionedDenoiser:
        shape = self.preset.autoencoder
        return ConditionedDenoiser(self.preset.denoiser, self.vocabulary(), shape.channels, shape.side)

    def _keep(self) -> bool:
        """Writes what engines of the weights of the moment do not hold."""
        if self.kept is None:
            raise ValueError("no place to keep weights in")
        model = self._empty_denoiser()
        model.load_state_dict(self._trained("mix", "few_step", "polish", "denoiser")["average"])
        self.kept.save(model)
        return True

    def painter(self, learner: FlowLearner) -> Painter:
        """Draws with the averaged weights and the best decoder of the moment."""
        values = learner.latents.values
        shape = (values.shape[1], values.shape[2], values.shape[3])
        return Painter(learner.average, self.finished_autoencoder(), learner.tokenizer, learner.latents.scale, shape)

    def _draw(self, learner: FlowLearner, seen: int, finished: bool) -> None:
        """A sheet of samples, and the folder ``checkpoint``.

        Left out soon after the last one: a sheet costs as much as 1,000 pictures of training.
        """
        drawn = [int(p.stem) for p in (self.folder / "samples").glob("[0-9]*.png") if p.stem.isdigit()]
        if drawn and seen < max(drawn) + self.preset.sheet_samples and not finished:
            return
        painter = self.painter(learner)
        save_sheet(painter, self.folder / "samples" / f"{seen:08d}.png")
        few_step = isinstance(learner, FewStepLearner)
        if few_step:
            save_sheet(painter, self.folder / "samples" / f"{seen:08d}-few-steps.png", few_steps=True)
        (self.folder / "mix.pt").unlink(missing_ok=True)
        if self.preset.denoiser.kind in ("hybrid", "vector"):
            origin, judge = self.origin(), self.finished_judge()
            checkpoint.save(painter, self.folder / "checkpoint", origin, judge, self._stand_ins(), few_step)

    def _decoder(self) -> bool:
        """Trains the decoder on, the encoder frozen."""
        learner = AutoencoderLearner(self.preset.autoencoder, self.corpus, True, device=self.preset.device)
        learner.model.load_state_dict(self.finished_autoencoder().state_dict())
        report = Every(self.preset.sheet_s, lambda n: self._report_autoencoder("decoder", learner, n))
        return self._loop("decoder", learner.steps, report).run(learner)

    def _judge(self) -> bool:
        """Trains the judge that chooses among candidates; it needs no latents."""
        words, device = self.vocabulary(), self.preset.device
        learner = CaptionJudgeLearner(self.corpus, words, self.preset.judge_steps, device=device)
        return self._loop("chooser", learner.steps).run(learner)

    def finished_judge(self) -> CaptionJudge | None:
        """As it was trained; before the stage `judge` is finished that of the engines, None where these have none."""
        path = self.folder / "chooser.pt"
        if not path.is_file():
            words = make_tokenizer(self.vocabulary().words)
            return self.kept.judge(words) if self.kept and self.kept.has_judge else None
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["step"] < self.preset.judge_steps:
            return None
        learner = CaptionJudgeLearner(self.corpus, self.vocabulary(), self.preset.judge_steps)
        learner.restore(saved["learner"])
        return learner.model


def save_picture(rgba: Rgba, path: Path) -> None:
    """Writes RGBA, laid on a pale colour, as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(autoencoder.laid_on(rgba, _GROUND)).save(path)
