"""Ownership: the user whose objects a request concerns, checked against its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import HTTPConnection

from serve.api.http.models import Text
from serve.api.middleware.authentication import principal_of, reauthenticate
from serve.api.middleware.scopes import READS
from serve.errors import InvalidRequest, StateUnavailable
from serve.security.identity.audit import Actor, record, record_now
from serve.security.identity.ownership import Kind, Owners
from serve.security.identity.roles import ADMIN, GENERATE
from serve.state.database import AlsoWrite

MAX_USER = 256
"""Characters of a user's name."""
WHOSE = "the key's user by default; required without a key"
UserName = Annotated[Text, Field(min_length=1, max_length=MAX_USER, description=WHOSE)]


def actor_of(connection: HTTPConnection) -> Actor:
    """The caller, for the audit log."""
    return Actor.of(principal_of(connection), connection.client.host if connection.client else None)


def with_owner(connection: HTTPConnection, action: str, subject: str, **details: Any) -> AlsoWrite:
    """An entry of the audit log, written in the transaction of the change itself."""

    async def write_entry(transaction: AsyncConnection) -> None:
        await record(transaction, actor_of(connection), action, subject, details)

    return write_entry


async def check_own(connection: HTTPConnection, kind: Kind, ids: Sequence[str], field: str = "id") -> None:
    """Checks that the caller owns ``ids``. An admin's change to another user's object is written to the audit log.

    Raises NotFound for what is another user's, StateUnavailable, OutOfSpace.
    """
    principal = principal_of(connection)
    await _owners(connection).check(principal, kind, ids, field)
    if connection.scope.get("method", "GET") not in READS:
        await _audit(connection, kind, ids)


async def check_change(connection: HTTPConnection, kind: Kind, of: str) -> None:
    """`check_own` for a change on a long-lived connection: its key must still be valid.

    A signed URL allows reading only. Raises as `check_own` does, Unauthorized and Forbidden.
    """
    principal = replace(await reauthenticate(connection), is_linked=False)
    principal.require(GENERATE)
    await _owners(connection).check(principal, kind, [of])
    await _audit(connection, kind, [of])


def _owners(connection: HTTPConnection) -> Owners:
    state = connection.app.state
    if not hasattr(state, "owners"):
        if state.state is None:
            raise StateUnavailable("the database is not open; try again")
        state.owners = Owners(state.state.database)
    owners: Owners = state.owners
    return owners


async def _audit(connection: HTTPConnection, kind: Kind, ids: Sequence[str]) -> None:
    principal, owners = principal_of(connection), _owners(connection)
    if principal.has_scope(ADMIN):
        action = f"{kind}.{connection.scope.get('method', 'socket').lower()}"
        for one in await owners.owned_by_others(principal, kind, ids):
            await record_now(owners.database, actor_of(connection), action, one, path=connection.url.path)


def owner_of(connection: HTTPConnection, user_id: str | None, field: str = "user_id") -> str:
    """The owner of an object, where the request may name a ``user_id``. It has to name one if it has no key.

    Raises InvalidRequest, and Forbidden for another user than the key's.
    """
    principal = principal_of(connection)
    if principal.key_id is None and user_id is None:
        raise InvalidRequest("is required, and must not be empty", field)
    return user_id if user_id is not None and principal.is_linked else principal.acting_user_id(user_id, field)
