"""`Authenticator`: what every door asks before it does anything."""

from __future__ import annotations

from collections.abc import Sequence

from serve.errors import Unauthorized
from serve.security.identity.credentials import missing, secret_of
from serve.security.identity.key_format import PREFIX
from serve.security.identity.keys import Keys
from serve.security.identity.required import is_required
from serve.security.identity.roles import LOCAL, Principal
from serve.state import State


class Authenticator:
    """For one event loop; close it. ``keys`` is for the routes that manage them."""

    def __init__(self, keys: Keys, required: bool) -> None:
        self.keys = keys
        self.required = required

    @classmethod
    async def opened(cls, state: State) -> Authenticator:
        """Raises StateUnavailable."""
        return cls(await Keys.opened(state), is_required(state.settings))

    async def close(self) -> None:
        await self.keys.close()

    async def admit(
        self, authorization: Sequence[str], api_key: Sequence[str] = (), address: str | None = None
    ) -> Principal:
        """By the values of the headers Authorization and x-api-key, of a client at ``address`` (not a proxy's).

        Where no key is needed, one of ours says who it is all the same, and whatever else is there says nothing: many
        clients cannot do without a key. Raises Unauthorized, TooManyAttempts, StateUnavailable.
        """
        try:
            secret = secret_of(authorization, api_key)
        except Unauthorized:
            if self.required:
                raise
            return LOCAL
        if secret is not None and (self.required or secret.startswith(PREFIX)):
            return await self.keys.authenticate(secret, address)
        if self.required:
            raise missing()
        return LOCAL
