"""Tables of the answer cache, the object store and reference pictures."""

from __future__ import annotations

import sqlalchemy as sa

from serve.state.tables.schema import SequenceNumber, id_column, json_column, metadata, text_column, time_column

cache = sa.Table(
    "cache",
    metadata,
    id_column("key"),
    text_column("kind"),
    json_column("answer", nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    time_column("created_at"),
    time_column("expires_at"),
    time_column("used_at"),
    sa.Index(None, "used_at"),
    sa.Index(None, "expires_at"),
)
"""Answers by the hash of everything that determines them. ``bytes`` counts ``answer`` and the objects that
``cached_objects`` lists."""

cached_objects = sa.Table(
    "cached_objects",
    metadata,
    sa.Column("key", sa.Text, sa.ForeignKey("cache.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("object", sa.Text, primary_key=True),
    sa.Index(None, "object"),
)

objects = sa.Table(
    "objects",
    metadata,
    id_column("name"),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    text_column("media_type"),
    time_column("touched_at"),
    sa.Index(None, "touched_at"),
)
"""Contents of the object store. A row is written or touched before its object is put, and deleted before the object is.
"""

loras = sa.Table(
    "loras",
    metadata,
    id_column("name"),
    text_column("object"),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    json_column("families", nullable=False),
    json_column("parts", nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("layers", sa.Integer, nullable=False),
    text_column("user_id"),
    time_column("created_at"),
    sa.Index(None, "object"),
)
"""LoRAs of the site, for all of its users. ``families``: those that it fits; ``parts``: the engines that it changes."""

subject_references = sa.Table(
    "subject_references",
    metadata,
    sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    text_column("user_id"),
    text_column("subject_name"),
    text_column("object"),
    text_column("thumbnail"),
    text_column("md5"),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    time_column("created_at"),
    sa.Index(None, "user_id", "subject_name", "seq"),
    sa.Index(None, "object"),
    sa.Index(None, "thumbnail"),
)
"""Users' reference pictures of subjects (A-021, A-022)."""
