"""The stages in order; each keeps its results in a folder and is skipped when they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from build_engines import data
from build_engines.data.icons import VAR
from build_engines.mini import autoencoder, checkpoint, pictures
from build_engines.mini.autoencoder import AutoencoderLearner
from build_engines.mini.captions import STYLES
from build_engines.mini.drawing import Painter, save_grid
from build_engines.mini.flow import FlowLearner
from build_engines.mini.latents import Latents, load_or_make
from build_engines.mini.loop import Every, Loop, Stop, samples_of
from build_engines.mini.pictures import Pictures
from build_engines.mini.presets import MiniPreset

MINI_DIR = VAR / "mini"
STAGES = ("data", "autoencoder", "latents", "unet", "decoder")
DEFAULT_STAGES = STAGES[:4]


@dataclass
class Run:
    """``folder`` keeps everything; ``stop`` ends a stage early, which the same run goes on from.

    ``compiled``: see ``FlowLearner``.
    """

    preset: MiniPreset
    stop: Stop
    folder: Path = MINI_DIR
    compiled: bool = False

    def train(self, stages: Sequence[str] = DEFAULT_STAGES) -> bool:
        """Runs the stages; whether all of them are finished."""
        self._check_device()
        return all(getattr(self, f"_{stage}")() for stage in stages)

    def _check_device(self) -> None:
        if self.preset.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"preset {self.preset.name!r} needs a CUDA device and there is none: use --preset cpu")

    @property
    def pictures(self) -> Pictures:
        return pictures.load(self.folder)

    def _data(self) -> bool:
        if not data.installed():
            data.install()
        print(f"data: {len(self.pictures.entries)} pictures", flush=True)
        return True

    def _loop(self, name: str, steps: int, *every: Every) -> Loop:
        return Loop(self.folder / f"{name}.pt", steps, self.preset.checkpoint_s, self.stop, every)

    def _autoencoder(self) -> bool:
        learner = AutoencoderLearner(self.preset, self.pictures)
        report = Every(self.preset.grid_s, lambda n: self._report_autoencoder("autoencoder", learner, n))
        return self._loop("autoencoder", learner.steps, report).run(learner)

    def _report_autoencoder(self, name: str, learner: AutoencoderLearner, step: int) -> None:
        """Prints the PSNR on unseen icons and writes some of them above their reconstructions."""
        unseen = autoencoder.validation_pictures(self.pictures)
        made = autoencoder.reconstruct(learner.model, unseen, self.preset.device)
        print(f"{name}: step {step}, PSNR of unseen icons {autoencoder.psnr(made, unseen):.2f} dB", flush=True)
        pairs = [np.vstack([a, b]) for a, b in zip(unseen, made, strict=True)]
        rows = [np.hstack(pairs[i : i + 15]) for i in range(0, len(pairs) // 15 * 15, 15)]
        path = self.folder / "samples" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.vstack(rows or pairs)).save(path)

    def _finished_autoencoder(self) -> AutoencoderLearner:
        """With the best decoder there is. Raises FileNotFoundError before the stage `autoencoder`."""
        learner = AutoencoderLearner(self.preset, self.pictures)
        found = [p for p in (self.folder / "decoder.pt", self.folder / "autoencoder.pt") if p.is_file()]
        if not found:
            raise FileNotFoundError(f"no autoencoder in {self.folder}: run the stage `autoencoder` first")
        saved = torch.load(found[0], map_location="cpu", weights_only=True)
        learner.model.load_state_dict(saved["learner"]["model"])
        return learner

    def load_latents(self) -> Latents:
        """Of every variant; made when they are not there yet."""
        model = self._finished_autoencoder().model
        return load_or_make(self.folder, model, self.pictures, self.preset.device)

    def _latents(self) -> bool:
        made = self.load_latents()
        print(f"latents: {len(made.variants)} variants, scale {made.scale:.3f}", flush=True)
        return True

    def _unet(self) -> bool:
        learner = FlowLearner(self.preset, self.pictures, self.load_latents(), self.compiled)
        decoder = self._finished_autoencoder().model.eval()
        painter = Painter(learner.average, decoder, learner.tokenizer, learner.latents.scale, self.preset.device)
        print(f"unet: {learner.parameters / 1e6:.1f} M parameters with the text encoder's", flush=True)
        save = Every(self.preset.checkpoint_s, lambda _: self._save(painter))
        samples = self.folder / "samples"
        grid = Every(self.preset.grid_s, lambda n: save_grid(painter, samples / f"{n * learner.batch:08d}.png"))
        return self._loop("unet", learner.steps, save, grid).run(learner)

    def _decoder(self) -> bool:
        """Trains the decoder on, the encoder frozen, and puts it into the checkpoint that is there."""
        learner = AutoencoderLearner(self.preset, self.pictures, decoder_only=True)
        learner.model.load_state_dict(self._finished_autoencoder().model.state_dict())
        report = Every(self.preset.grid_s, lambda n: self._report_autoencoder("decoder", learner, n))
        finished = self._loop("decoder", learner.steps, report).run(learner)
        folder = self.folder / "checkpoint"
        if folder.is_dir():
            drawn = checkpoint.load(folder, self.preset.device)
            self._save(replace(drawn, autoencoder=learner.model.eval()))
        return finished

    def _save(self, painter: Painter) -> None:
        checkpoint.save(painter, self.folder / "checkpoint", self._origin())

    def _origin(self) -> dict[str, Any]:
        """Which pictures the family was trained on, how, and how long."""
        entries = self.pictures.entries
        sets = [s for s in data.ICON_SETS if s.name in STYLES]
        logs = {name: self.folder / f"{name}.csv" for name in ("autoencoder", "unet", "decoder")}
        return {
            "data": {
                "sets": [{"package": s.package, "version": s.version, "license": s.license} for s in sets],
                "pictures": len(entries),
                "never_shown": len(entries) - sum(e.trained for e in entries),
            },
            "command": f"python -m build_engines train mini --preset {self.preset.name}",
            "seed": self.preset.seed,
            "samples": {name: samples_of(log) for name, log in logs.items() if log.is_file()},
        }
