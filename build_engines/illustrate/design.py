"""What will be built from a checkpoint, known (or refused) before anything heavy is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engines.illustrate.checkpoint import Checkpoint, open_checkpoint
from build_engines.illustrate.contracts import Engine, engines
from build_engines.illustrate.family import family
from build_engines.illustrate.parts import DISTILLED_GUIDANCE
from build_engines.illustrate.precision import Precision, Target
from build_engines.illustrate.refusal import Refused
from build_engines.illustrate.schedulers import read_schedule
from build_engines.illustrate.sizes import sizes_of
from build_engines.illustrate.source import Source
from build_engines.illustrate.tokenizer import Tokenizer, read_tokenizer
from serve.diffusion.family import parse
from serve.errors import InvalidRequest

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_CONTROLNETS = 8


@dataclass(frozen=True)
class AdapterOptions:
    """What the engines take besides: LoRAs where ``loras``, and these ControlNets and this IP-Adapter, which imply it.

    ``controlnets``: names and folders. ``ip_adapter``: its weights and the folder of its image encoder. ``lazy``: see
    `EngineAdapters`.
    """

    loras: bool = False
    controlnets: tuple[tuple[str, Path], ...] = ()
    ip_adapter: tuple[Path, Path] | None = None
    lazy: bool = False

    def __bool__(self) -> bool:
        return self.loras or bool(self.controlnets) or self.ip_adapter is not None

    def check(self) -> None:
        """Raises Refused."""
        names = [name for name, _ in self.controlnets]
        for name, folder in self.controlnets:
            if not _NAME.fullmatch(name) or names.count(name) > 1:
                raise Refused(f"--controlnet {name}=...: small letters, digits and _, each name once")
            if not (folder / "config.json").is_file():
                raise Refused(f"--controlnet {name}: {folder} is no ControlNet in diffusers' layout")
        if len(names) > MAX_CONTROLNETS:
            raise Refused(f"--controlnet: at most {MAX_CONTROLNETS}")
        for path in self.ip_adapter or ():
            if not path.exists():
                raise Refused(f"--ip-adapter: {path} is missing")


@dataclass(frozen=True)
class BuildOptions:
    """The parameters of a build; ``command`` is the command line that repeats it, for the manifests."""

    name: str
    target: Target
    precision: Precision
    repository: Path
    command: str
    max_side_px: int | None = None
    max_batch: int | None = None
    adapters: AdapterOptions = AdapterOptions()

    def check(self) -> None:
        """Raises Refused for a name that cannot be an engine's, or a precision that the target lacks."""
        if not _NAME.fullmatch(self.name):
            raise Refused(f"--name {self.name!r}: small letters, digits and _, a letter first, at most 40 in all")
        if self.target == "tensorrt" and self.precision == "int8":
            raise Refused("--target tensorrt builds fp32 and fp16; 8-bit plans need calibration on real prompts")
        if self.target == "tensorrt" and self.adapters:
            raise Refused(
                "--target tensorrt: plans take no adapters yet; leave --loras, --controlnet and --ip-adapter out"
            )
        self.adapters.check()


@dataclass(frozen=True)
class Design:
    """``notes`` say what is not as the checkpoint has it; ``timesteps`` is how many the UNet was trained with."""

    checkpoint: Checkpoint
    engines: list[Engine]
    tokenizers: dict[str, Tokenizer]
    family: dict[str, Any]
    timesteps: int
    notes: tuple[str, ...]


def design(build_options: BuildOptions, source: Source) -> Design:
    """Raises Refused for whatever does not fit."""
    checkpoint = open_checkpoint(source)
    tokenizers = {encoder: read_tokenizer(checkpoint, encoder) for encoder in checkpoint.text_encoders}
    lengths = {tokenizer.max_tokens for tokenizer in tokenizers.values()}
    if len(lengths) > 1:
        raise Refused(f"the tokenizers differ in model_max_length: {sorted(lengths)}")
    distilled = checkpoint.config("unet").get("time_cond_proj_dim") is not None
    schedule = read_schedule(checkpoint.config("scheduler"), distilled)
    sizes = sizes_of(checkpoint, build_options.target, build_options.max_side_px)
    described = family(build_options.name, checkpoint, schedule, tokenizers, sizes)
    takes_adapters = bool(build_options.adapters)
    if takes_adapters:
        described["adapters"] = {}
    try:
        parse({"family": described})
    except InvalidRequest as error:
        raise Refused(f"the checkpoint, or its atelier.json, could not be served: {error}") from error
    return Design(
        checkpoint,
        engines(build_options.name, checkpoint, lengths.pop(), sizes, build_options.max_batch, takes_adapters),
        tokenizers,
        described,
        int(checkpoint.config("scheduler").get("num_train_timesteps", 1000)),
        (*schedule.notes, *_notes(checkpoint, distilled)),
    )


def _notes(checkpoint: Checkpoint, distilled: bool) -> list[str]:
    notes = []
    if distilled:
        notes.append(f"the UNet is distilled with guidance inside; its engine is always told {DISTILLED_GUIDANCE}")
    if (checkpoint.index.get("safety_checker") or [None])[0]:
        notes.append("the checkpoint's safety_checker is not exported")
    return notes
