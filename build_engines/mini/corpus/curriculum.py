"""How often an icon is shown: everyday things most, whose looks are alike in the large families of emoji."""

from __future__ import annotations

from build_engines.mini.corpus.concepts import Concept

_KIND_WEIGHTS = {"face": 0.4, "person": 0.4, "hand": 0.3, "heart": 0.4, "shape": 0.3, None: 0.6}
"""How often an emoji is shown for each time that one of an everyday thing is, by its concept's first kind (None: it
has none)."""
_SET_WEIGHTS = {"noto-v1": 0.5, "fxemoji": 0.4, "emojione": 0.7, "streamline-emojis": 0.4, "fluent-emoji": 0.8}
"""The same by the set, in the second stage: less for the families whose looks are furthest from the others', which
would come where no style is named. In the first stage all are alike, so that each style is learned."""
_PICTOGRAM_WEIGHT = 0.08
"""The same of a pictogram, which the second stage shows no more: their looks would come where no style is named."""


def weight(icon_set: str, concept: Concept, clean: bool = False) -> float:
    """How often an icon of ``icon_set`` that shows ``concept`` is shown, for each time that noto's cat is. ``clean``:
    in the second stage."""
    if not concept.emoji:
        return 0.0 if clean else _PICTOGRAM_WEIGHT
    kind = concept.kinds[0] if concept.kinds else None
    return _KIND_WEIGHTS.get(kind, 1.0) * (_SET_WEIGHTS.get(icon_set, 1.0) if clean else 1.0)
