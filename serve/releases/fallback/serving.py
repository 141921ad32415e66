"""Who is served, where that makes a difference; light to import."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from serve.ensembles.illustrator.illustration import IllustratorService


@runtime_checkable
class ServesUsers(Protocol):
    """An Illustrator that does not serve all users alike."""

    def for_user(self, user_id: str) -> IllustratorService: ...


def serving(illustrator: IllustratorService, user_id: str) -> IllustratorService:
    """As ``user_id`` is served."""
    return illustrator.for_user(user_id) if isinstance(illustrator, ServesUsers) else illustrator
