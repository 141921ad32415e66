"""`Restyle`: in which styles a picture is painted, and how much. Frozen, picklable, as JSON by the pictures' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from serve.ensembles.illustrator.picture_source import InputPicture
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

MAX_STYLES = 4
MAX_WEIGHT = 10.0
MAX_ITERATIONS = 500
MIN_STYLE_PX = 16
"""Shortest side of a style's picture: below it, there is nothing to take but a colour."""


@dataclass(frozen=True)
class StyleUse:
    """A ``picture`` whose style is taken, with its share of a mixture. ``name``: that of a style of the site.

    ``mask``: grey, of the painted picture's shape; where it is white, the style is painted over the mixture of those
    without a mask, and its weight is how much it covers (at most 1).
    """

    picture: InputPicture
    weight: float = 1.0
    name: str = ""
    mask: InputPicture | None = None

    def with_data(self, data: Mapping[str, bytes]) -> StyleUse:
        """With the contents of its pictures, by their names."""
        mask = None if self.mask is None else replace(self.mask, data=data[self.mask.name])
        return replace(self, picture=replace(self.picture, data=data[self.picture.name]), mask=mask)


@dataclass(frozen=True)
class Restyle:
    """Raises ``InvalidRequest`` with the field's name for values out of range.

    ``strength``: 0 leaves the picture as it is. ``preserve_colors``: only light and dark change. ``mask``: grey, of the
    picture's shape; what is white is painted, what is black stays. ``iterations``: of the optimisation (`Optimiser`);
    0: the style engines paint, in one pass.
    """

    styles: tuple[StyleUse, ...]
    strength: float = 1.0
    preserve_colors: bool = False
    mask: InputPicture | None = None
    iterations: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.styles) <= MAX_STYLES:
            raise InvalidRequest(f"must be from 1 to {MAX_STYLES} styles", "styles")
        check_number(self.strength, "strength", 0.0, 1.0)
        check_number(self.iterations, "iterations", 0, MAX_ITERATIONS)
        for i, use in enumerate(self.styles):
            check_number(use.weight, f"styles[{i}].weight", 0.0, MAX_WEIGHT)
            if min(use.picture.width, use.picture.height) < MIN_STYLE_PX:
                size = f"{use.picture.width} x {use.picture.height}"
                raise InvalidRequest(f"is {size} px; a style needs {MIN_STYLE_PX} px a side", f"styles[{i}].image")
        if not any(use.weight for use in self.styles):
            raise InvalidRequest("needs one style with a weight above 0", "styles")

    @property
    def pictures(self) -> Sequence[InputPicture]:
        masks = [use.mask for use in self.styles] + [self.mask]
        return [*(use.picture for use in self.styles), *(mask for mask in masks if mask is not None)]

    @property
    def shares(self) -> Mapping[int, float]:
        """Of each style without a mask, by its index; their sum is 1. Empty where none has a weight."""
        total = sum(use.weight for use in self.styles if use.mask is None)
        return {i: use.weight / total for i, use in enumerate(self.styles) if use.mask is None and total}

    def with_data(self, data: Mapping[str, bytes]) -> Restyle:
        """With the contents of its pictures, by their names."""
        styles = tuple(use.with_data(data) for use in self.styles)
        mask = None if self.mask is None else replace(self.mask, data=data[self.mask.name])
        return replace(self, styles=styles, mask=mask)

    def to_json(self) -> dict[str, Any]:
        """Without the pictures' contents, and without fields at their defaults."""
        document: dict[str, Any] = asdict(self)
        for use in document["styles"]:
            del use["picture"]["data"]
            if use["mask"] is None:
                del use["mask"]
            else:
                del use["mask"]["data"]
        if self.mask is None:
            del document["mask"]
        else:
            del document["mask"]["data"]
        if not self.iterations:
            del document["iterations"]
        if not self.preserve_colors:
            del document["preserve_colors"]
        return {**document, "styles": list(document["styles"])}


def restyle_from_json(document: Mapping[str, Any]) -> Restyle:
    """The inverse of `Restyle.to_json`, without the contents."""
    styles = tuple(
        StyleUse(**{**use, "picture": InputPicture(**use["picture"]), "mask": _mask(use)}) for use in document["styles"]
    )
    mask = _mask(document)
    return Restyle(**{**document, "styles": styles, "mask": mask})


def _mask(document: Mapping[str, Any]) -> InputPicture | None:
    return None if document.get("mask") is None else InputPicture(**document["mask"])
