"""Options of what is done to a picture after it is drawn: `Finish`, and `Hires`, the second pass. Frozen, picklable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

MAX_UPSCALE, MAX_HIRES = 8.0, 4.0


@dataclass(frozen=True)
class Finish:
    """``upscale``: 1 to 8. ``upscaler``: an engine's name or one of FILTERS; None: the site's engine that fits best.
    Raises InvalidRequest naming the field."""

    upscale: float = 1.0
    upscaler: str | None = None
    remove_background: bool = False
    restore_faces: bool = False

    def __post_init__(self) -> None:
        check_number(self.upscale, "upscale", 1.0, MAX_UPSCALE)
        if self.upscaler is not None and self.upscale == 1:
            raise InvalidRequest("needs upscale", "upscaler")

    def __bool__(self) -> bool:
        return self != NO_FINISH

    def to_json(self) -> dict[str, Any]:
        """Without fields at their defaults."""
        return {name: value for name, value in asdict(self).items() if value != getattr(NO_FINISH, name)}


NO_FINISH = Finish()


@dataclass(frozen=True)
class Hires:
    """A second pass: the drawing is enlarged by ``scale`` and drawn from again with ``strength``.

    ``num_inference_steps``: None for those of the first pass. Raises InvalidRequest naming the field.
    """

    scale: float = 2.0
    strength: float = 0.5
    num_inference_steps: int | None = None
    upscaler: str | None = None

    def __post_init__(self) -> None:
        check_number(self.scale, "scale", 1.0, MAX_HIRES)
        check_number(self.strength, "strength", 0.0, 1.0)
        if self.scale == 1:
            raise InvalidRequest(f"must be above 1 and at most {MAX_HIRES:g}", "scale")
        if self.strength == 0:
            raise InvalidRequest("must be above 0 and at most 1", "strength")

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class UpscalerInfo:
    name: str
    scale: int
