"""The Illustrator of a process that has a state, with what may stand in for it."""

from __future__ import annotations

from serve.ensembles.illustrator.illustration import IllustratorService
from serve.errors import InvalidRequest
from serve.releases.fallback.illustrator import FallbackIllustrator
from serve.releases.flags.store import Flags
from serve.security.signing.secret_store import SecretStore
from serve.state import State


def with_fallback(illustrator: IllustratorService, state: State) -> FallbackIllustrator:
    """Raises InvalidRequest for steps that cannot be."""
    flags = Flags(state.settings.flags, state.database)
    try:
        return FallbackIllustrator(illustrator, state.settings, SecretStore(state).get, flags)
    except ValueError as error:
        raise InvalidRequest(str(error), "fallback.steps") from None
