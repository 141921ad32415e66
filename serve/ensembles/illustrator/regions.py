"""`Region`: a part of a drawing with a prompt of its own. Frozen, picklable, as JSON by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from serve.diffusion import canvas, masks
from serve.diffusion.regions import Box, Floats, layer_shares
from serve.ensembles.illustrator.adapters import (
    LoraUse,
    ReferenceUse,
    check_loras,
    check_uses,
    loaded,
    lora_from_json,
    pictures_of,
    reference_from_json,
    use_to_json,
)
from serve.ensembles.illustrator.picture_source import MAX_BLUR_PX, InputPicture
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest, rename_fields
from serve.vector.image import FIELD, ImageLimits, read

MAX_REGIONS = 8
"""Each makes up to two rows of every evaluation."""
DEFAULT_WEIGHT = 0.8
_FEATHER_SHARE = 32
"""The default feather is this part of the drawing's shorter side."""


@dataclass(frozen=True)
class Region:
    """A ``box`` or a ``mask`` (grey, scaled to the drawing; white is the region) with its own prompts.

    ``negative_prompt``: empty for that of the drawing. ``weight``: the region's share inside of its mask; the rest is
    that of what lies below. ``feather``: radius in pixels of the drawing over which the region fades; None: 1/32 of the
    shorter side. ``name``: of the subject that it was made for. ``loras`` and ``references`` act in its rows alone,
    beside those of the drawing. Raises InvalidRequest naming the field.
    """

    prompt: str
    negative_prompt: str = ""
    box: Box | None = None
    mask: InputPicture | None = None
    weight: float = DEFAULT_WEIGHT
    feather: int | None = None
    name: str | None = None
    loras: tuple[LoraUse, ...] = ()
    references: tuple[ReferenceUse, ...] = ()
    client_field: str = field(default="", compare=False)
    """The client's name of it, such as ``subjects[1]``, where that is not ``regions[i]`` by its place here."""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InvalidRequest("must not be empty", "prompt")
        if (self.box is None) == (self.mask is None):
            raise InvalidRequest("must have a box or a mask, and not both", "box")
        check_number(self.weight, "weight", 0.0, 1.0)
        if self.weight == 0:
            raise InvalidRequest("must be above 0 and at most 1", "weight")
        if self.feather is not None and not 0 <= self.feather <= MAX_BLUR_PX:
            raise InvalidRequest(f"must be from 0 to {MAX_BLUR_PX} pixels", "feather")
        check_loras(self.loras)
        check_uses(self.references, "references")
        for i, use in enumerate(self.references):
            if use.mask is not None:
                raise InvalidRequest("is not for a reference of a region, which has its place", f"references[{i}].mask")

    @property
    def pictures(self) -> Sequence[InputPicture]:
        return [*([] if self.mask is None else [self.mask]), *pictures_of(self.references)]

    def with_data(self, data: Mapping[str, bytes]) -> Region:
        """With the contents of its pictures, by their names."""
        mask = None if self.mask is None else replace(self.mask, data=data[self.mask.name])
        return replace(self, mask=mask, references=tuple(loaded(use, data) for use in self.references))

    def to_json(self) -> dict[str, Any]:
        """Without the pictures' contents and without fields at their defaults."""
        document = {name: value for name, value in asdict(self).items() if value not in (None, "", ())}
        if self.loras:
            document["loras"] = [lora.to_json() for lora in self.loras]
        if self.references:
            document["references"] = [use_to_json(use) for use in self.references]
        if self.mask is not None:
            del document["mask"]["data"]
        return document


def region_from_json(document: Mapping[str, Any]) -> Region:
    """The inverse of `Region.to_json`, without the pictures' contents."""
    values = dict(document)
    if values.get("box") is not None:
        values["box"] = Box(**values["box"])
    if values.get("mask") is not None:
        values["mask"] = InputPicture(**values["mask"])
    values["loras"] = tuple(map(lora_from_json, values.get("loras", ())))
    values["references"] = tuple(map(reference_from_json, values.get("references", ())))
    return Region(**values)


def field_of(region: Region, index: int) -> str:
    """For errors of the region at ``index`` of a drawing."""
    return region.client_field or f"regions[{index}]"


def shares_of(regions: Sequence[Region], size: tuple[int, int], downsample: int) -> Floats:
    """Shares of the base prompt and of each region over the latents of a drawing of ``size`` (width, height).

    Decodes masks. Raises BadImage and InvalidRequest naming the region's field (`field_of`).
    """
    width, height = size
    layers = []
    for i, region in enumerate(regions):
        if region.box is not None:
            mask = region.box.mask(width, height)
        else:
            assert region.mask is not None
            mask = decoded_mask(region.mask, f"{field_of(region, i)}.mask", size)
        feather = max(1, min(size) // _FEATHER_SHARE) if region.feather is None else region.feather
        layer = masks.latent_mask(canvas.blurred(mask, feather), downsample)
        if layer.max() < 1 / 255:
            raise InvalidRequest("is too small: nothing would be drawn in it", field_of(region, i))
        layers.append(layer)
    return layer_shares(layers, [region.weight for region in regions])


def decoded_mask(picture: InputPicture, field: str, size: tuple[int, int]) -> canvas.Bytes:
    """The grey levels (H, W) of a mask, scaled to ``size`` (width, height). Raises BadImage naming ``field``."""
    limits = ImageLimits(
        max(1, len(picture.data)), picture.width * picture.height, max(picture.width, picture.height), 1
    )
    with rename_fields({FIELD: field}):
        grey = np.ascontiguousarray(read(picture.data, limits).rgba[..., 0])
    return canvas.resized(grey, size)
