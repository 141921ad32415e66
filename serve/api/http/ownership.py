"""Whose objects a request is about: what its key says, and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import HTTPConnection

from serve.api.http.models import Text
from serve.api.middleware.authentication import admitted_still, principal_of
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
    """For the audit log."""
    return Actor.of(principal_of(connection), connection.client.host if connection.client else None)


def with_owner(connection: HTTPConnection, action: str, subject: str, **details: Any) -> AlsoWrite:
    """Writes it down in the transaction that does it."""

    async def tell(transaction: AsyncConnection) -> None:
        await record(transaction, actor_of(connection), action, subject, details)

    return tell


async def check_own(connection: HTTPConnection, kind: Kind, ids: Sequence[str], field: str = "id") -> None:
    """What an admin asks to change of others goes into the audit log.

    Raises NotFound for what is another user's, StateUnavailable, OutOfSpace.
    """
    principal = principal_of(connection)
    await _owners(connection).check(principal, kind, ids, field)
    if connection.scope.get("method", "GET") not in READS:
        await _tell(connection, kind, ids)


async def check_change(connection: HTTPConnection, kind: Kind, of: str) -> None:
    """Of one's own, by a key that still holds: a signed address shows, and changes nothing.

    For what follows on a connection that was let in. Raises as `check_own` does, Unauthorized and Forbidden.
    """
    principal = replace(await admitted_still(connection), is_linked=False)
    principal.require(GENERATE)
    await _owners(connection).check(principal, kind, [of])
    await _tell(connection, kind, [of])


def _owners(connection: HTTPConnection) -> Owners:
    state = connection.app.state
    if not hasattr(state, "owners"):
        if state.state is None:
            raise StateUnavailable("the database is not open; try again")
        state.owners = Owners(state.state.database)
    owners: Owners = state.owners
    return owners


async def _tell(connection: HTTPConnection, kind: Kind, ids: Sequence[str]) -> None:
    principal, owners = principal_of(connection), _owners(connection)
    if principal.has_scope(ADMIN):
        action = f"{kind}.{connection.scope.get('method', 'socket').lower()}"
        for one in await owners.owned_by_others(principal, kind, ids):
            await record_now(owners.database, actor_of(connection), action, one, path=connection.url.path)


def owner_of(connection: HTTPConnection, user_id: str | None, field: str = "user_id") -> str:
    """Whose something is, or is to be, where the request names ``user_id``. Without a key it has to name one.

    Raises InvalidRequest, and Forbidden for another user than the key's.
    """
    principal = principal_of(connection)
    if principal.key_id is None and user_id is None:
        raise InvalidRequest("is required, and must not be empty", field)
    return user_id if user_id is not None and principal.is_linked else principal.acting_user_id(user_id, field)
