"""`CaptionOptions`: how pictures are captioned; light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_BEAMS = 8
MAX_TOKENS = 64
MAX_WEIGHT = 100.0


@dataclass(frozen=True)
class CaptionOptions:
    """``models``: those that caption; none: all. ``weights`` by model. ``prompt``: how texts of the engines begin.
    ``timeout_s`` is for each picture."""

    models: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    prompt: str = ""
    beams: int = 3
    max_tokens: int = 30
    timeout_s: float = 60.0

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "models": list(self.models), "weights": dict(self.weights)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> CaptionOptions:
        """The inverse of ``to_json``."""
        return CaptionOptions(**{**document, "models": tuple(document["models"])})
