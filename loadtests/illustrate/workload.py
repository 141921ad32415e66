"""What is measured: one checkpoint, in torch and as engines, and the options that all sides draw with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from build_engines.illustrate.build import build
from build_engines.illustrate.design import BuildOptions, design
from build_engines.illustrate.source import locate
from build_engines.mini import checkpoint as mini
from build_engines.mini.drawing import Painter
from build_engines.mini.flow import Denoiser
from build_engines.mini.networks import make_autoencoder, make_text_encoder, make_unet
from build_engines.mini.presets import CPU
from build_engines.mini.tokenizer import SPECIAL, make_tokenizer
from serve.diffusion.family import Family, load

NAME = "bench"
WORDS = ("red", "green", "blue", "apple", "pear", "owl", "rocket", "flat", "noto")


@dataclass(frozen=True)
class Workload:
    """``checkpoint``: a diffusers folder; ``repository``: its engines, under NAME."""

    checkpoint: Path
    repository: Path

    @property
    def family(self) -> Family:
        return load(self.repository / f"{NAME}_unet" / "manifest.json")


def random_checkpoint(folder: Path) -> Path:
    """The starter family's networks with random weights: speed does not depend on what they have learned."""
    text_encoder = make_text_encoder(CPU.flow, len(WORDS) + len(SPECIAL))
    denoiser = Denoiser(text_encoder, make_unet(CPU.flow, CPU.autoencoder.channels)).eval()
    painter = Painter(denoiser, make_autoencoder(CPU.autoencoder).eval(), make_tokenizer(WORDS), 1.0)
    mini.save(painter, folder, {"weights": "random"})
    return folder


def prepare(checkpoint: Path | None, folder: Path) -> Workload:
    """Builds the engines of ``checkpoint`` (a random one when None) in ``folder``."""
    source = checkpoint or random_checkpoint(folder / "checkpoint")
    repository = folder / "model_repository"
    repository.mkdir(parents=True)
    order = BuildOptions(NAME, "onnx", "fp32", repository, "python -m loadtests.benchmarks.illustrate")
    order.check()
    build(order, design(order, locate(str(source), None)), lambda engine, stage: None)
    return Workload(source, repository)
