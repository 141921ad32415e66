"""`Authenticator`: the principal of a request, from the API key in its headers.

A key is sent as Bearer (OpenAI's clients), in ``x-api-key``, or as the password of Basic (A1111's clients).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from serve.errors import Unauthorized
from serve.security.identity.key_format import FIELD, PREFIX
from serve.security.identity.keys import Keys
from serve.security.identity.roles import LOCAL, Principal
from serve.settings import Settings
from serve.settings.loopback import is_reached_from_elsewhere
from serve.state import State

API_KEY = "x-api-key"
MAX_HEADER = 1024
"""Characters."""
_HOW = "send `Authorization: Bearer KEY`, `x-api-key: KEY`, or Basic with the key as the password"


def missing() -> Unauthorized:
    return Unauthorized(f"needs an API key: {_HOW}", FIELD)


def secret_of(authorization: Sequence[str], api_key: Sequence[str] = ()) -> str | None:
    """What may be a key, from the values of these two headers; None where there is none.

    The user's name of Basic says nothing. Raises Unauthorized for what cannot be read, and for two that differ.
    """
    found = {_of_authorization(value) for value in authorization} | {_checked(value, API_KEY) for value in api_key}
    if len(found) > 1:
        raise Unauthorized("there is more than one key in this request; send one", FIELD)
    return next(iter(found), None)


def _of_authorization(value: str) -> str:
    scheme, _, given = _checked(value, FIELD).partition(" ")
    if scheme.lower() == "bearer":
        return _checked(given, FIELD)
    if scheme.lower() == "basic":
        return _password(given.strip())
    raise Unauthorized(f"must be Bearer or Basic: {_HOW}", FIELD)


def _password(given: str) -> str:
    try:
        _, _, password = base64.b64decode(given, validate=True).decode("latin-1").partition(":")
    except (ValueError, binascii.Error):
        raise Unauthorized("is not Basic with a key as the password", FIELD) from None
    return _checked(password, FIELD)


def _checked(value: str, field: str) -> str:
    """Without spaces around it; the error does not repeat it."""
    stripped = value.strip(" \t")
    if not stripped or len(value) > MAX_HEADER or not (stripped.isascii() and stripped.isprintable()):
        raise Unauthorized(f"must be 1 to {MAX_HEADER} printable ASCII characters", field)
    return stripped


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


def is_required(settings: Settings) -> bool:
    """By ``auto`` also where a proxy on this machine brings requests from elsewhere, as `http.public_url` tells."""
    if settings.access.required != "auto":
        return settings.access.required == "on"
    return is_reached_from_elsewhere(settings.http.host, settings.http.public_url)
