"""Subject references: pictures of subjects that users draw again (A-021, A-022).

Of an upload only the pixels are stored: upright, as PNG, without metadata. Names of users and subjects are stored in
the database only, never in a path (F 12).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.api.library.renditions import THUMBNAIL_PX, may_be_svg, rasterised, thumbnail, without_idle_alpha
from serve.ensembles.illustrator.encoding import Encoding, to_file
from serve.errors import Conflict, NotFound
from serve.security.limits.quotas import Quotas
from serve.settings import Settings
from serve.state import State
from serve.state.cursors import Page, check_limit, cursor_of_seq, fetch_page, from_row, seq_of
from serve.state.database import AlsoWrite, Database
from serve.state.objects.objects import Objects
from serve.state.tables import subject_references, utc_now
from serve.vector.image import ImageLimits, decode

PNG, WEBP = "image/png", "image/webp"
SVG_SIDE_PX = 1024
MOST_ITEMS = 100
_LOCKS = 0x73756A65
"""Namespace of these advisory locks of PostgreSQL."""

_r = subject_references.c


@dataclass(frozen=True)
class Reference:
    """``object``, a PNG, and ``thumbnail``, a WebP, are names in the object store.

    ``bytes`` is the size of the PNG; ``md5`` is the hash of the uploaded file.
    """

    id: str
    user_id: str
    subject_name: str
    object: str
    thumbnail: str
    md5: str
    width: int
    height: int
    bytes: int
    created_at: datetime

    @property
    def file_name(self) -> str:
        """The name for downloads; nothing is stored under it."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.user_id}_{self.subject_name}_{self.md5[:8]}") + ".png"


class SubjectReferenceManager:
    """For one event loop. Another user's reference raises NotFound. Every method raises StateUnavailable."""

    def __init__(self, state: State) -> None:
        self._database: Database = state.database
        self._objects: Objects = state.objects
        self._settings: Settings = state.settings
        self._quotas = Quotas(state.database, state.settings.quotas)

    async def store_subject_reference(self, user_id: str, subject_name: str, image: bytes) -> Reference:
        """An SVG is sanitised and stored as pixels, ``SVG_SIDE_PX`` on its longer side.

        Raises BadImage, TooLarge and UnsupportedMedia naming ``image``, DeadlineExceeded for a drawing that takes too
        long, Conflict for too many, OutOfSpace and QuotaExceeded.
        """
        async with self._database.read() as connection:  # before the costly work
            await self._check_limit(connection, user_id)
        limits = ImageLimits(**self._settings.vectorizer.image.model_dump())
        if may_be_svg(image):
            image = await rasterised(image, SVG_SIDE_PX)
        png, size, md5 = await asyncio.to_thread(_without_metadata, image, limits)
        await self._quotas.check_storage(user_id, len(png))
        small = await thumbnail(png, PNG, THUMBNAIL_PX)
        kept, kept_small = await self._objects.put_all([(png, PNG), (small, WEBP)])
        reference = Reference(
            id=secrets.token_hex(16),
            user_id=user_id,
            subject_name=subject_name,
            object=kept.name,
            thumbnail=kept_small.name,
            md5=md5,
            width=size[0],
            height=size[1],
            bytes=kept.bytes,
            created_at=utc_now(),
        )
        async with self._database.write() as connection:
            if not self._database.is_sqlite:  # SQLite serialises writers anyway
                lock = sa.func.hashtextextended(user_id, _LOCKS)
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
            await self._check_limit(connection, user_id)
            await connection.execute(subject_references.insert().values(vars(reference)))
        return reference

    async def get_subject_reference(self, user_id: str, subject_name: str) -> Reference:
        """The newest of that name. Raises NotFound."""
        newest = (await self.page(user_id, subject_name, limit=1)).items
        if not newest:
            raise NotFound("there is no reference of that subject", "subject_name")
        return newest[0]

    async def page(
        self, user_id: str, subject_name: str | None = None, cursor: str | None = None, limit: int = 20
    ) -> Page[Reference]:
        """The newest first, from where the page with ``cursor`` as its ``next_cursor`` ended.

        Raises InvalidRequest naming ``cursor`` or ``limit``.
        """
        check_limit(limit, MOST_ITEMS)
        query = sa.select(subject_references).where(_r.user_id == user_id).order_by(_r.seq.desc())
        if subject_name is not None:
            query = query.where(_r.subject_name == subject_name)
        if cursor is not None:
            query = query.where(_r.seq < seq_of(cursor))
        async with self._database.read() as connection:
            return await fetch_page(
                connection, query, limit, lambda row: from_row(Reference, row), lambda row: cursor_of_seq(row.seq)
            )

    async def get(self, user_id: str, reference_id: str) -> Reference:
        """Raises NotFound."""
        if "\0" not in reference_id:  # which PostgreSQL would refuse
            query = sa.select(subject_references).where(_r.id == reference_id, _r.user_id == user_id)
            async with self._database.read() as connection:
                row = (await connection.execute(query)).one_or_none()
            if row is not None:
                return from_row(Reference, row)
        raise _missing()

    async def delete(self, user_id: str, reference_id: str, also: AlsoWrite | None = None) -> None:
        """Its files are deleted when nothing else uses them and `objects.keep_unused_h` have passed. ``also`` runs in
        the same transaction. Raises NotFound."""
        reference = await self.get(user_id, reference_id)
        async with self._database.write() as connection:
            deleted = await connection.execute(sa.delete(subject_references).where(_r.id == reference.id))
            if deleted.rowcount == 0:
                raise _missing()
            if also is not None:
                await also(connection)

    async def _check_limit(self, connection: AsyncConnection, user_id: str) -> None:
        most = self._settings.references.max_per_user
        query = sa.select(sa.func.count()).select_from(subject_references).where(_r.user_id == user_id)
        if (await connection.scalar(query) or 0) >= most:
            raise Conflict(f"there are {most} references already, and no more are kept; delete some first")


def _without_metadata(data: bytes, limits: ImageLimits) -> tuple[bytes, tuple[int, int], str]:
    """The PNG, its (width, height), the MD5 of ``data`` in hex."""
    rgba = decode(data, limits).rgba
    height, width = rgba.shape[:2]
    png = to_file(without_idle_alpha(rgba), Encoding())
    return png, (width, height), hashlib.md5(data, usedforsecurity=False).hexdigest()


def _missing() -> NotFound:
    return NotFound("there is no such reference", "id")
