"""`PictureSource`: the input picture of a drawing, its mask, and how they are used. Frozen, picklable, as JSON by name.

Bytes travel with a request from the API to the Illustrator. A stored request names them by their hash in the object
store, and whoever runs it loads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from serve.diffusion.canvas import FITS
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

DEFAULT_STRENGTH = 0.75
"""Without a mask and margins; with them all steps are done."""
MAX_BLUR_PX = 256
MAX_PADDING_PX = 1024
MAX_MARGIN_PX = 2048
MAX_CANVAS_PX = 4096
"""Longest side of a picture with its margins."""
FILLS = ("original", "surroundings", "noise", "empty")
"""What is under the mask before the first step: the picture, the colours around, noise, or latents of zero."""
SIDES = ("left", "top", "right", "bottom")


def _check_pixels(value: int, name: str, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequest(f"must be a whole number of pixels from 0 to {most}", name)


@dataclass(frozen=True)
class InputPicture:
    """An encoded picture. ``name``: that of its content in the object store. ``width`` and ``height``: upright, in
    pixels. ``data`` is empty in a stored request."""

    name: str
    width: int
    height: int
    data: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True)
class Margins:
    """Pixels added on each side of the picture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        for name in SIDES:
            _check_pixels(getattr(self, name), f"outpaint.{name}", MAX_MARGIN_PX)

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True)
class PictureSource:
    """Raises ``InvalidRequest`` with the field's name for values out of range.

    ``mask``: grey, of the size of ``image``; what is white is drawn anew, and what is grey with that share of the
    steps. ``mask_crop``: the masked part alone is drawn, at the drawn size, and pasted back.
    """

    image: InputPicture
    mask: InputPicture | None = None
    strength: float | None = None
    """Share of the steps that are done, above 0; None: 1 with a mask or margins, else DEFAULT_STRENGTH."""
    fit: str = "crop"
    mask_blur: int = 4
    """Radius in pixels of the picture."""
    mask_fill: str | None = None
    """One of FILLS; None: ``surroundings`` for margins, else ``original``."""
    mask_crop: bool = False
    mask_crop_padding: int = 32
    """Pixels around the masked part that are drawn with it."""
    outpaint: Margins = Margins()

    def __post_init__(self) -> None:
        check_number(self.strength, "strength", 0.0, 1.0)
        if self.strength == 0:
            raise InvalidRequest("must be above 0 and at most 1", "strength")
        if self.fit not in FITS:
            raise InvalidRequest(f"must be one of {', '.join(FITS)}", "fit")
        if self.mask_fill is not None and self.mask_fill not in FILLS:
            raise InvalidRequest(f"must be one of {', '.join(FILLS)}", "mask_fill")
        _check_pixels(self.mask_blur, "mask_blur", MAX_BLUR_PX)
        _check_pixels(self.mask_crop_padding, "mask_crop_padding", MAX_PADDING_PX)
        if self.outpaint and max(self.size) > MAX_CANVAS_PX:
            raise InvalidRequest(
                f"makes a side of {max(self.size)} px; at most {MAX_CANVAS_PX} are allowed", "outpaint"
            )
        if self.mask_crop and self.outpaint:
            raise InvalidRequest("cannot be combined with outpaint", "mask_crop")
        if self.mask_crop and self.mask is None:
            raise InvalidRequest("needs a mask", "mask_crop")

    @property
    def is_masked(self) -> bool:
        """Whether a part of the picture is kept."""
        return self.mask is not None or bool(self.outpaint)

    @property
    def resolved_strength(self) -> float:
        if self.strength is not None:
            return self.strength
        return 1.0 if self.is_masked else DEFAULT_STRENGTH

    @property
    def fill(self) -> str:
        return self.mask_fill or ("surroundings" if self.outpaint else "original")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels with the margins."""
        margins = self.outpaint
        return (
            self.image.width + margins.left + margins.right,
            self.image.height + margins.top + margins.bottom,
        )

    @property
    def pictures(self) -> Sequence[InputPicture]:
        return [self.image] if self.mask is None else [self.image, self.mask]

    def with_data(self, data: Mapping[str, bytes]) -> PictureSource:
        """With the contents of its pictures, by their names."""
        mask = None if self.mask is None else replace(self.mask, data=data[self.mask.name])
        return replace(self, image=replace(self.image, data=data[self.image.name]), mask=mask)

    def to_json(self) -> dict[str, Any]:
        """Without the contents and without fields that have no effect."""
        document = asdict(replace(self, strength=self.resolved_strength))
        for name in ("image", "mask"):
            if document[name] is not None:
                del document[name]["data"]
        if self.is_masked:
            document["mask_fill"] = self.fill
        else:
            for name in ("mask", "mask_blur", "mask_fill", "mask_crop", "mask_crop_padding", "outpaint"):
                del document[name]
        if "outpaint" in document and not self.outpaint:
            del document["outpaint"]
        return document


def source_from_json(document: Mapping[str, Any]) -> PictureSource:
    """The inverse of `PictureSource.to_json`, without the contents."""
    values = {name: document[name] for name in {one.name for one in fields(PictureSource)} & document.keys()}
    for name in ("image", "mask"):
        if values.get(name) is not None:
            values[name] = InputPicture(**values[name])
    if "outpaint" in values:
        values["outpaint"] = Margins(**values["outpaint"])
    return PictureSource(**values)
