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
from serve.settings.egress_policy import is_reached_from_elsewhere
from serve.state import State

API_KEY = "x-api-key"
MAX_HEADER = 1024
"""Characters."""
_INSTRUCTIONS = "send `Authorization: Bearer KEY`, `x-api-key: KEY`, or Basic with the key as the password"


def missing_key_error() -> Unauthorized:
    return Unauthorized(f"needs an API key: {_INSTRUCTIONS}", FIELD)


def read_key(authorization: Sequence[str], api_key: Sequence[str] = ()) -> str | None:
    """The key in the values of these two headers; None without one.

    The user name of Basic is ignored. Raises Unauthorized for unreadable headers, and for two different keys.
    """
    found = {_read_authorization(value) for value in authorization} | {_validated(value, API_KEY) for value in api_key}
    if len(found) > 1:
        raise Unauthorized("there is more than one key in this request; send one", FIELD)
    return next(iter(found), None)


def _read_authorization(value: str) -> str:
    scheme, _, credentials = _validated(value, FIELD).partition(" ")
    if scheme.lower() == "bearer":
        return _validated(credentials, FIELD)
    if scheme.lower() == "basic":
        return _basic_password(credentials.strip())
    raise Unauthorized(f"must be Bearer or Basic: {_INSTRUCTIONS}", FIELD)


def _basic_password(credentials: str) -> str:
    try:
        _, _, password = base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")
    except (ValueError, binascii.Error):
        raise Unauthorized("is not Basic with a key as the password", FIELD) from None
    return _validated(password, FIELD)


def _validated(value: str, field: str) -> str:
    """Without surrounding spaces; the error does not quote the value."""
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
    async def open(cls, state: State) -> Authenticator:
        """Raises StateUnavailable."""
        return cls(await Keys.open(state), is_key_required(state.settings))

    async def close(self) -> None:
        await self.keys.close()

    async def authenticate(
        self, authorization: Sequence[str], api_key: Sequence[str] = (), address: str | None = None
    ) -> Principal:
        """By the values of the headers Authorization and x-api-key, for a client at ``address`` (not a proxy's).

        Where no key is required, one of this site's keys still identifies its user, and anything else is ignored: many
        clients cannot send requests without a key. Raises Unauthorized, TooManyAttempts, StateUnavailable.
        """
        try:
            secret = read_key(authorization, api_key)
        except Unauthorized:
            if self.required:
                raise
            return LOCAL
        if secret is not None and (self.required or secret.startswith(PREFIX)):
            return await self.keys.authenticate(secret, address)
        if self.required:
            raise missing_key_error()
        return LOCAL


def is_key_required(settings: Settings) -> bool:
    """``auto`` requires keys also where a local proxy forwards requests from elsewhere, as `http.public_url` shows."""
    if settings.access.required != "auto":
        return settings.access.required == "on"
    return is_reached_from_elsewhere(settings.http.host, settings.http.public_url)
