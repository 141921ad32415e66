"""Whose objects a request is about: what its key says, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection

from serve.access.audit import Actor, record_now
from serve.access.ownership import Kind, Owners
from serve.access.roles import ADMIN
from serve.api.entrance import principal_of
from serve.api.rights import READS
from serve.api.stateful import state_of
from serve.api.values import required_text, text

MAX_USER = 256
"""Characters of a user's name."""
WHOSE = "the key's user by default; required without a key"


def actor_of(connection: HTTPConnection) -> Actor:
    """For the audit log."""
    return Actor.of(principal_of(connection), connection.client.host if connection.client else None)


async def check_own(connection: HTTPConnection, kind: Kind, ids: Sequence[str], field: str = "id") -> None:
    """What an admin is about to change of others goes into the audit log.

    Raises NotFound for what is another user's, StateUnavailable, OutOfSpace.
    """
    owners: Owners | None = getattr(connection.app.state, "owners", None)
    database = (await state_of(connection)).database
    if owners is None:
        owners = connection.app.state.owners = Owners(database)
    principal = principal_of(connection)
    await owners.check(principal, kind, ids, field)
    method = connection.scope.get("method", "GET")
    if method not in READS and principal.may(ADMIN):
        for one in await owners.foreign(principal, kind, ids):
            await record_now(database, actor_of(connection), f"{kind}.{method.lower()}", one, path=connection.url.path)


def user_of(connection: HTTPConnection, values: Mapping[str, Any], name: str = "user_id") -> str:
    """Whose something is, or is to be. Where nobody shows a key it has to be said.

    Raises InvalidRequest, and Forbidden for another user than the key's.
    """
    who = principal_of(connection)
    given = required_text(values, name, MAX_USER) if who.key_id is None else text(values, name, MAX_USER)
    return given if given is not None and who.is_linked else who.acts_as(given, name)


def user_wanted(connection: HTTPConnection, values: Mapping[str, Any], name: str = "user_id") -> str | None:
    """Whose objects are looked for; None: everybody's. Raises as ``user_of``."""
    return principal_of(connection).looks_at(text(values, name, MAX_USER), name)
