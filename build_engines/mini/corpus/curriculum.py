"""How often an icon is shown: everyday things most, whose looks are alike in the large families of emoji."""

from __future__ import annotations

from build_engines.mini.corpus.concepts import Concept

_KIND_WEIGHTS = {"face": 0.2, "person": 0.1, "hand": 0.1, "heart": 0.3, "shape": 0.15, None: 0.3}
"""How often an emoji is shown for each time that one of an everyday thing is, by its concept's first kind (None: it
has none)."""
_SET_WEIGHTS = {"noto-v1": 0.1, "fxemoji": 0.1, "emojione": 0.3, "streamline-emojis": 0.1, "fluent-emoji": 0.5}
"""The same by the set, for the families whose looks are furthest from the others', or hardest to draw."""
_PICTOGRAM_WEIGHT = 0.02
"""The same of a pictogram."""


def weight(icon_set: str, concept: Concept) -> float:
    """How often an icon of ``icon_set`` that shows ``concept`` is shown, for each time that noto's cat is."""
    if not concept.emoji:
        return _PICTOGRAM_WEIGHT
    kind = concept.kinds[0] if concept.kinds else None
    return _KIND_WEIGHTS.get(kind, 1.0) * _SET_WEIGHTS.get(icon_set, 1.0)
