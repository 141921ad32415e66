"""Adapters of a drawing: what requests name, and the inputs of engines that name their files (`adapter_bank`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serve.diffusion import controls
from serve.diffusion.canvas import FITS
from serve.diffusion.family import Family
from serve.diffusion.lora import Lora, parse_lora
from serve.diffusion.safetensors_file import FIELD
from serve.engines.adapter_files import IDS, SCALES, SLOTS
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest, UnsupportedOperation

MAX_LORAS = 4
MAX_WEIGHT = 4.0
MAX_PICTURES_EACH = 4
"""Control pictures, and references, of one drawing."""
MAX_SCALE = 2.0
MIN_SIDE_PX = 8
SCALED_BLOCKS: Mapping[str, str] = {"style_scale": "up_blocks.0.", "content_scale": "down_blocks.2."}
"""The attention layers of the two scales that a reference has beside its own."""
HOW_TO_TAKE_LORAS = "build its engines with --loras"

AnyUse = TypeVar("AnyUse", "ControlUse", "ReferenceUse")


@dataclass(frozen=True)
class LoraUse:
    """A LoRA of the site. ``weight`` may be negative. ``object`` names its file in the object store, by content; empty
    in a request that has not been resolved (`serve.jobs.loras`). ``families``: the models that it is for, where they
    are known. ``client_field``: the name of what brought it, where that is not the list that it is in."""

    name: str
    weight: float = 1.0
    object: str = ""
    families: tuple[str, ...] = ()
    client_field: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_number(self.weight, "loras", -MAX_WEIGHT, MAX_WEIGHT)

    def to_json(self) -> dict[str, Any]:
        """Without ``client_field``: a stored request's LoRAs have been found."""
        families = {"families": list(self.families)} if self.families else {}
        return {"name": self.name, "weight": self.weight, "object": self.object, **families}


def lora_from_json(document: Mapping[str, Any]) -> LoraUse:
    """The inverse of `LoraUse.to_json`."""
    return LoraUse(**{**document, "families": tuple(document.get("families", ()))})


@dataclass(frozen=True)
class ControlUse:
    """A ``picture`` that a ControlNet follows. ``type``: one of the family's. ``preprocessor``: what makes the control
    picture of it. ``scale``: its strength; it acts from the share ``start`` of the steps to the share ``end``."""

    type: str
    picture: InputPicture
    preprocessor: str = controls.NONE
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    fit: str = "crop"

    def __post_init__(self) -> None:
        if self.preprocessor not in controls.PREPROCESSORS:
            raise InvalidRequest(f"must be one of {', '.join(controls.PREPROCESSORS)}", "preprocessor")
        if self.fit not in FITS:
            raise InvalidRequest(f"must be one of {', '.join(FITS)}", "fit")
        check_number(self.scale, "scale", 0.0, MAX_SCALE)
        check_number(self.start, "start", 0.0, 1.0)
        check_number(self.end, "end", 0.0, 1.0)
        if self.start >= self.end:
            raise InvalidRequest("must be above start", "end")
        if min(self.picture.width, self.picture.height) < MIN_SIDE_PX:
            raise InvalidRequest(f"must have {MIN_SIDE_PX} pixels on a side at least", "image")


@dataclass(frozen=True)
class ReferenceUse:
    """A ``picture`` of what is drawn again, by an IP-Adapter. ``weight`` is that of all attention layers. Those that
    decide on style (``up_blocks.0`` of SDXL) and layout (``down_blocks.2``) have ``style_scale`` and ``content_scale``,
    and all others, or all without these, ``scale``. ``mask``: grey, scaled to the drawing; the attention to the
    reference counts with it at every position."""

    picture: InputPicture
    weight: float = 1.0
    scale: float = 0.6
    style_scale: float | None = None
    content_scale: float | None = None
    mask: InputPicture | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "scale", "style_scale", "content_scale"):
            check_number(getattr(self, name), name, 0.0, MAX_SCALE)

    def block_scales(self, blocks: Sequence[str]) -> npt.NDArray[np.float32]:
        found = []
        for block in blocks:
            own = next((getattr(self, name) for name, start in SCALED_BLOCKS.items() if block.startswith(start)), None)
            found.append(self.weight * (self.scale if own is None else own))
        return np.array(found, np.float32)


def reference_scales(blocks: Sequence[str]) -> tuple[str, ...]:
    """The scales of a reference that ``blocks`` have layers for."""
    return tuple(name for name, start in SCALED_BLOCKS.items() if any(block.startswith(start) for block in blocks))


def loaded(use: AnyUse, data: Mapping[str, bytes]) -> AnyUse:
    """With the contents of its pictures, by their names."""
    pictures: dict[str, Any] = {"picture": replace(use.picture, data=data[use.picture.name])}
    if isinstance(use, ReferenceUse) and use.mask is not None:
        pictures["mask"] = replace(use.mask, data=data[use.mask.name])
    return replace(use, **pictures)


def pictures_of(uses: Sequence[ControlUse | ReferenceUse]) -> list[InputPicture]:
    """Their pictures, and the masks of references."""
    masks = [use.mask for use in uses if isinstance(use, ReferenceUse) and use.mask is not None]
    return [*(use.picture for use in uses), *masks]


def use_to_json(use: ControlUse | ReferenceUse) -> dict[str, Any]:
    """Without the pictures' contents and without what is not set."""
    document = {name: value for name, value in asdict(use).items() if value is not None}
    for name in {"picture", "mask"} & document.keys():
        del document[name]["data"]
    return document


def control_from_json(document: Mapping[str, Any]) -> ControlUse:
    return ControlUse(**{**document, "picture": InputPicture(**document["picture"])})


def reference_from_json(document: Mapping[str, Any]) -> ReferenceUse:
    pictures = {name: InputPicture(**document[name]) for name in {"picture", "mask"} & document.keys()}
    return ReferenceUse(**{**document, **pictures})


def check_uses(uses: Sequence[ControlUse | ReferenceUse], name: str) -> None:
    """Raises InvalidRequest naming the field ``name``."""
    if len(uses) > MAX_PICTURES_EACH:
        raise InvalidRequest(f"at most {MAX_PICTURES_EACH} fit one picture", name)


def check_loras(loras: Sequence[LoraUse]) -> None:
    """Raises InvalidRequest naming ``loras``."""
    if len(loras) > MAX_LORAS:
        raise InvalidRequest(f"at most {MAX_LORAS} LoRAs fit one picture", "loras")
    if len({lora.name for lora in loras}) < len(loras):
        raise InvalidRequest("names the same LoRA twice", "loras")


@dataclass(frozen=True)
class LoraInfo:
    """What a LoRA's file holds. ``families``: those that it fits; ``parts``: the engines that it changes."""

    families: tuple[str, ...]
    rank: int
    layers: int
    parts: tuple[str, ...]


def read_lora(data: bytes, families: Sequence[Family]) -> LoraInfo:
    """Takes seconds for a large file. Raises InvalidRequest naming ``file`` when it fits none of ``families``."""
    taking = [family for family in families if family.adapters]
    if not taking:
        raise UnsupportedOperation(f"no model here takes LoRAs; {HOW_TO_TAKE_LORAS}", FIELD)
    fits: dict[str, Lora] = {}
    refusals = []
    for family in taking:
        try:
            fits[family.name] = parse_lora(data, family.adapters, family.name)
        except InvalidRequest as error:
            refusals.append(error)
    if not fits:
        raise refusals[0]
    first = next(iter(fits.values()))
    return LoraInfo(tuple(fits), first.rank, first.layers, tuple(sorted(first.parts)))


@dataclass(frozen=True, eq=False)
class AdapterSlot:
    """One adapter in effect: ``number`` of its file, its scale, and the share of the steps from and to which it acts.
    ``unconditional``: the file for rows of the unconditional prediction; None: the same."""

    number: int
    scale: float
    start: float = 0.0
    end: float = 1.0
    unconditional: int | None = None


NO_ADAPTERS: tuple[AdapterSlot, ...] = ()


def unconditional(slots: Sequence[AdapterSlot]) -> list[AdapterSlot]:
    """``slots`` for a row of the unconditional prediction."""
    return [slot if slot.unconditional is None else replace(slot, number=slot.unconditional) for slot in slots]


def adapter_inputs(rows: Sequence[Sequence[AdapterSlot]], step: int = 0, steps: int = 1) -> dict[str, npt.NDArray[Any]]:
    """The engines' inputs for these ``rows`` in evaluation ``step`` of ``steps``."""
    ids, scales = np.zeros((len(rows), SLOTS), np.int64), np.zeros((len(rows), SLOTS), np.float32)
    for row, slots in enumerate(rows):
        acting = [slot for slot in slots if step / steps >= slot.start and (step + 1) / steps <= slot.end]
        for place, slot in enumerate(acting):
            ids[row, place], scales[row, place] = slot.number, slot.scale
    return {IDS: ids, SCALES: scales}
