"""The LoRAs of a site: rows with what is known of each, files in the object store. All of its users draw with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.state import State
from serve.state.cursors import from_row
from serve.state.database import AlsoWrite
from serve.state.objects.objects import protect
from serve.state.tables import loras, utc_now

MEDIA_TYPE = "application/octet-stream"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

_l = loras.c


@dataclass(frozen=True)
class StoredLora:
    """``object``: its file in the object store. ``families``: the models that it fits. ``parts``: engines that it
    changes."""

    name: str
    object: str
    bytes: int
    families: Sequence[str]
    parts: Sequence[str]
    rank: int
    layers: int
    user_id: str
    created_at: datetime


def check_name(name: str, field: str = "name") -> str:
    """Raises InvalidRequest naming ``field``."""
    if not NAME.fullmatch(name):
        raise InvalidRequest("must be 1 to 64 letters, digits, dots, dashes and underscores, a letter first", field)
    return name


class LoraStore:
    """For one event loop. Every method raises StateUnavailable."""

    def __init__(self, state: State) -> None:
        self._database, self._objects = state.database, state.objects
        self._most, self._most_each = state.settings.loras.max_count, state.settings.loras.max_per_user

    async def add(
        self,
        name: str,
        data: bytes,
        families: Sequence[str],
        parts: Sequence[str],
        rank: int,
        layers: int,
        user_id: str,
        also: AlsoWrite | None = None,
    ) -> StoredLora:
        """Keep the file ``data``. ``also`` runs in the same transaction. The same file under the same name again is no
        error. Raises InvalidRequest for a name, Conflict for one in use or too many, OutOfSpace."""
        check_name(name)
        known = (await self.named([name])).get(name)
        stored = await self._objects.put(data, MEDIA_TYPE)
        if known is not None:
            if known.object != stored.name:
                raise Conflict("is the name of another LoRA; remove that first", "name")
            return known
        made = StoredLora(
            name, stored.name, stored.bytes, list(families), list(parts), rank, layers, user_id, utc_now()
        )
        async with self._database.write() as connection:
            if (await connection.scalar(sa.select(sa.func.count()).select_from(loras)) or 0) >= self._most:
                raise Conflict(f"there are {self._most} LoRAs already, and no more are kept; remove some first")
            own = sa.select(sa.func.count()).select_from(loras).where(_l.user_id == user_id)
            if (await connection.scalar(own) or 0) >= self._most_each:
                raise Conflict(f"you have {self._most_each} LoRAs, and a user keeps no more; remove some first")
            try:
                await connection.execute(sa.insert(loras).values(**vars(made)))
            except sa.exc.IntegrityError:
                raise Conflict("is the name of another LoRA; remove that first", "name") from None
            if also is not None:
                await also(connection)
        return made

    async def all(self) -> list[StoredLora]:
        """In the order of their names."""
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(loras).order_by(_l.name))).all()
        return [from_row(StoredLora, row) for row in rows]

    async def named(self, names: Collection[str]) -> Mapping[str, StoredLora]:
        """Those of ``names`` that there are."""
        valid = [name for name in names if NAME.fullmatch(name)]
        if not valid:
            return {}
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(loras).where(_l.name.in_(valid)))).all()
        return {row.name: from_row(StoredLora, row) for row in rows}

    async def get(self, name: str) -> StoredLora:
        """Raises NotFound."""
        found = (await self.named([name])).get(name)
        if found is None:
            raise NotFound("there is no such LoRA", "name")
        return found

    async def remove(self, name: str, also: AlsoWrite | None = None) -> None:
        """Its file is deleted when nothing else uses it and `objects.keep_unused_h` have passed from now. Raises
        NotFound."""
        async with self._database.write() as connection:
            removed = await connection.scalar(sa.delete(loras).where(_l.name == name).returning(_l.object))
            if removed is None:
                raise NotFound("there is no such LoRA", "name")
            await protect(connection, [removed])  # for drawings that have just looked it up
            if also is not None:
                await also(connection)
