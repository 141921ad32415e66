"""Per-user views of an Illustrator; light to import."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from serve.ensembles.illustrator.service import IllustratorService


@runtime_checkable
class PerUserIllustrator(Protocol):
    """An Illustrator that serves users differently."""

    def for_user(self, user_id: str) -> IllustratorService: ...


def serving(illustrator: IllustratorService, user_id: str) -> IllustratorService:
    """The Illustrator for ``user_id``."""
    return illustrator.for_user(user_id) if isinstance(illustrator, PerUserIllustrator) else illustrator
