"""Ownership of objects. Another user's object is reported as missing, so that guessed ids reveal nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa

from serve.errors import NotFound
from serve.security.identity.roles import Principal
from serve.state.database import Database
from serve.state.tables import batches, generations, results

Kind = Literal["generation", "job", "batch", "result"]
"""A job is a generation."""
MAX_CACHED = 10_000
"""Cached owners, which never change."""

_OF_GENERATION = sa.select(generations.c.user_id).where(generations.c.id == sa.bindparam("of"))
_FIND = {
    "generation": _OF_GENERATION,
    "job": _OF_GENERATION,
    "batch": sa.select(batches.c.user_id).where(batches.c.id == sa.bindparam("of")),
    "result": sa.select(generations.c.user_id)
    .join(results, results.c.generation_id == generations.c.id)
    .where(results.c.id == sa.bindparam("of")),
}


class Owners:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._cached: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def check(self, principal: Principal, kind: Kind, ids: Sequence[str], field: str = "id") -> None:
        """Whether the objects exist for the principal. Raises NotFound, StateUnavailable."""
        if principal.sees_all or principal.is_linked:
            return
        for one in ids:
            if await self._owner(kind, one) != principal.user_id:
                raise NotFound(f"there is no such {kind}", field)

    async def owned_by_others(self, principal: Principal, kind: Kind, ids: Sequence[str]) -> list[str]:
        """Those of other users, for a principal that sees all. Raises StateUnavailable."""
        owners = [await self._owner(kind, one) for one in ids]
        return [one for one, owner in zip(ids, owners, strict=True) if owner not in (None, principal.user_id)]

    async def _owner(self, kind: Kind, of: str) -> str | None:
        cached = self._cached.get((kind, of))
        if cached is not None:
            self._cached.move_to_end((kind, of))
            return cached
        if "\0" in of:  # PostgreSQL rejects NUL
            return None
        async with self.database.read() as connection:
            found: str | None = await connection.scalar(_FIND[kind], {"of": of})
        if found is not None:
            self._cached[kind, of] = found
            if len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)
        return found
