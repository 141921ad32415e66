"""Every table. Times are UTC; identifiers that clients see are random, and ``seq`` orders what came first.

Users, keys, prompts, conversations, feedback, preferences and audit have their shapes here (B-081, C-038, C-044,
C-050, C-076, C-150). A ``user_id`` refers to no row: whoever asks may be known elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware time, kept in UTC: SQLite forgets the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)


_Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite counts up only what it calls an integer."""


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _of_generation(*, primary_key: bool = False, index: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("generations.id", ondelete="CASCADE")
    return sa.Column("generation_id", sa.Text, owner, primary_key=primary_key, nullable=False, index=index)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcTime, nullable=nullable)


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable, server_default=default)


def _whole(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=str(default))


def _json(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=nullable)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


generations = sa.Table(
    "generations",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    _text("user_id"),
    _text("kind"),
    _flag("direct"),
    _text("batch_id", nullable=True),
    _text("retried_from", nullable=True),
    _text("prompt", default=""),
    _text("enhanced_prompt", nullable=True),
    _json("analysis"),
    _text("model", nullable=True),
    _json("models"),
    _json("parameters"),
    _json("details"),
    _text("status"),
    _whole("priority"),
    _json("error"),
    _flag("favorite"),
    sa.Column("rating", sa.Float, nullable=True),
    _flag("cached"),
    _time("created_at"),
    _time("started_at", nullable=True),
    _time("completed_at", nullable=True),
    sa.Column("generation_time_s", sa.Float, nullable=True),
    sa.Index(None, "user_id", "created_at", "seq"),
    sa.Index(None, "created_at", "seq"),
    sa.Index(None, "batch_id"),
)
"""One row for every request, whatever door it came by: history and gallery (C-044). ``details`` is what an answer tells
beside its results: model versions, tokens, times per stage."""

results = sa.Table(
    "results",
    metadata,
    _id(),
    _of_generation(),
    _whole("place"),
    _text("object"),
    _text("media_type"),
    _text("model", nullable=True),
    sa.Column("width", sa.Integer, nullable=True),
    sa.Column("height", sa.Integer, nullable=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=True),
    sa.Column("score", sa.Float, nullable=True),
    _text("thumbnail", nullable=True),
    _json("details"),
    _time("created_at"),
    sa.Index(None, "generation_id", "place", unique=True),
    sa.Index(None, "object"),
    sa.Index(None, "thumbnail"),
)
"""Pictures and drawings. ``object`` and ``thumbnail`` are names in the object store."""

inputs = sa.Table(
    "inputs",
    metadata,
    _of_generation(primary_key=True),
    sa.Column("object", sa.Text, primary_key=True),
    sa.Index(None, "object"),
)
"""Objects that a generation starts from."""

jobs = sa.Table(
    "jobs",
    metadata,
    _of_generation(primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    _text("user_id"),
    _text("lane"),
    _text("status"),
    _whole("rank"),
    sa.Column("round", sa.BigInteger, nullable=False),
    _time("available_at"),
    _json("request", nullable=False),
    _text("worker_id", nullable=True),
    _whole("attempt"),
    _whole("failures"),
    _text("wish", nullable=True),
    sa.Column("progress", sa.Float, nullable=False, server_default="0"),
    _json("stage"),
    _whole("events"),
    _text("webhook_url", nullable=True),
    _json("webhook_events"),
    _json("context"),
    _time("expires_at", nullable=True),
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Index(None, "lane", "status", "rank", "round", "seq"),
    sa.Index(None, "user_id", "lane", "status", "rank", "round"),
    sa.Index(None, "status", "user_id"),
    sa.Index(None, "worker_id"),
    sa.Index(None, "expires_at"),
)
"""The queue's side of a generation. ``status`` equals the generation's, and both change in one transaction.

Jobs of a lane start in the order of ``rank`` (the priority, negated), ``round``, ``seq``. ``context`` is what the
request carried: its id, and its place in a trace; ``cpu_seconds`` and ``gpu_seconds`` are what all attempts have cost
by now."""

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    _of_generation(primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    _whole("step"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""How far each picture of a running job has come."""

events = sa.Table(
    "events",
    metadata,
    _of_generation(primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    _text("kind"),
    _json("data", nullable=False),
    _time("created_at"),
    sa.Index(None, "created_at"),
)
"""What happened to a job, counted from 1 without gaps."""

workers = sa.Table(
    "workers",
    metadata,
    _id(),
    sa.Column("beat", sa.BigInteger, nullable=False),
    _json("slots", nullable=False),
    _time("started_at"),
)
"""Who holds leases. A lease lasts for as long as ``beat`` goes on counting."""

lanes = sa.Table(
    "lanes",
    metadata,
    _id("lane"),
    _flag("paused"),
)
"""Lanes that were told to pause; one that is not here runs."""

batches = sa.Table(
    "batches",
    metadata,
    _id(),
    _text("user_id"),
    _whole("size"),
    _time("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("body_hash"),
    _text("target"),
    _time("created_at"),
    sa.Index(None, "created_at"),
)
"""``target``: the generation, or the batch, that the key stands for."""

flights = sa.Table(
    "flights",
    metadata,
    _id("key"),
    _text("generation_id"),
    _text("worker_id"),
    sa.Index(None, "worker_id"),
)
"""Requests of the direct doors that are under way, so that the same one joins instead of starting again."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    _id(),
    _of_generation(),
    sa.Column("event", sa.Integer, nullable=False),
    _text("url"),
    _text("host"),
    _text("kind"),
    _json("body", nullable=False),
    _json("context"),
    _text("status"),
    _whole("attempts"),
    _text("worker_id", nullable=True),
    sa.Column("answer", sa.Integer, nullable=True),
    _time("due_at"),
    _time("created_at"),
    sa.Index(None, "status", "due_at"),
    sa.Index(None, "generation_id", "status", "event"),
)
"""Webhooks: pending, delivered or failed. ``event``: its number; ``host`` has the port, if one is named."""

cache = sa.Table(
    "cache",
    metadata,
    _id("key"),
    _text("kind"),
    _json("answer", nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at"),
    sa.Index(None, "used_at"),
    sa.Index(None, "expires_at"),
)
"""Answers by the hash of all that decides them. ``bytes`` counts ``answer`` and the objects that
``cached_objects`` names."""

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
    _id("name"),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    _text("media_type"),
    _time("touched_at"),
    sa.Index(None, "touched_at"),
)
"""What is in the object store. A row is written, or touched, before the object is put, and goes before it does not."""

subject_references = sa.Table(
    "subject_references",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    _text("user_id"),
    _text("subject_name"),
    _text("object"),
    _text("thumbnail"),
    _text("md5"),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    _time("created_at"),
    sa.Index(None, "user_id", "subject_name", "seq"),
    sa.Index(None, "object"),
    sa.Index(None, "thumbnail"),
)
"""Pictures of subjects that users want to see again (A-021, A-022)."""

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    _text("generation_id"),
    _text("user_id"),
    _text("kind"),
    _text("prompt", default=""),
    sa.Column("generation_time_s", sa.Float, nullable=False),
    sa.Column("success", sa.Boolean, nullable=False),
    _text("error_message", nullable=True),
    _text("model_used", nullable=True),
    _flag("cached"),
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"),
    _time("created_at"),
    sa.Index(None, "created_at", "seq"),
    sa.Index(None, "kind", "seq"),
    sa.Index(None, "generation_id"),
)
"""A row for every request that ended (A-090); it outlives the generation, without its prompt."""

counters = sa.Table(
    "counters",
    metadata,
    _id("key"),
    sa.Column("used", sa.BigInteger, nullable=False),
    _time("expires_at"),
    sa.Index(None, "expires_at"),
)
"""What is used of rate limits, where there is no Redis. A key is of one window and does not come again."""

flags = sa.Table(
    "flags",
    metadata,
    _id("name"),
    _flag("enabled"),
    sa.Column("percentage", sa.Float, nullable=False),
    _json("users", nullable=False),
    _time("updated_at"),
)
"""Feature flags that were changed since the settings named them."""

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("generation_id", sa.Text, primary_key=True),
    _text("arm"),
    _text("user_id"),
    _time("created_at"),
    sa.Index(None, "created_at"),
)
"""Which arm of an experiment a generation had (A-102). It outlives the generation, as its measurement does."""

rollouts = sa.Table(
    "rollouts",
    metadata,
    _id("engine"),
    _text("current"),
    _text("previous", nullable=True),
    _text("candidate", nullable=True),
    sa.Column("percentage", sa.Float, nullable=False, server_default="0"),
    _whole("asked"),
    _whole("revision"),
    _text("updated_by", nullable=True),
    _time("updated_at"),
)
"""Which version of an engine is served, and to how many users its candidate (D-083). ``asked`` counts up whenever the
replicas are to examine the candidate again, ``revision`` with every change. An engine without a row has its lowest
version."""

replicas = sa.Table(
    "replicas",
    metadata,
    _id(),
    _whole("beat"),
    _json("engines", nullable=False),
    _time("updated_at"),
)
"""Replicas of ensembles: the versions that each has, and what it found of candidates. One whose ``beat`` stands still
is gone."""

sealed_secrets = sa.Table(
    "sealed_secrets",
    metadata,
    _id("name"),
    _text("sealed"),
    _time("updated_at"),
)
"""Keys of outside services, sealed with what is not in the database (`serve.security.signing.encryption`)."""

chores = sa.Table(
    "chores",
    metadata,
    _id("name"),
    _time("done_at"),
)
"""When what has to be done now and then was last done, whoever did it."""

users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("email", sa.Text, nullable=True, unique=True),
    _text("name", default=""),
    _text("password_hash", nullable=True),
    _text("role", default="user"),
    _time("created_at"),
    _time("disabled_at", nullable=True),
)
"""Who may have keys. ``id`` is the ``user_id`` of everything else."""

keys = sa.Table(
    "keys",
    metadata,
    _id(),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    _text("name", default=""),
    sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
    _json("scopes", nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("used_at", nullable=True),
    _time("revoked_at", nullable=True),
)
"""API keys. ``secret_hash`` is keyed with what is not in the database (`serve.security.signing.site_secret`)."""

prompts = sa.Table(
    "prompts",
    metadata,
    _id(),
    _text("user_id"),
    _text("text"),
    _json("analysis"),
    _text("keywords", default=""),
    _flag("favorite"),
    _time("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

conversations = sa.Table(
    "conversations",
    metadata,
    _id(),
    _text("user_id"),
    _text("title", default=""),
    _json("messages", nullable=False),
    _text("final_prompt", nullable=True),
    _text("generation_id", nullable=True),
    _text("status", default="active"),
    _time("created_at"),
    _time("updated_at"),
    sa.Index(None, "user_id", "updated_at"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    _id(),
    _text("user_id"),
    _of_generation(index=True),
    _text("result_id", nullable=True),
    _text("kind"),
    sa.Column("value", sa.Float, nullable=True),
    _text("comment", nullable=True),
    _time("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

preferences = sa.Table(
    "preferences",
    metadata,
    _id("user_id"),
    _json("document", nullable=False),
    _time("updated_at"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    _text("user_id", nullable=True),
    _text("key_id", nullable=True),
    _text("action"),
    _text("subject", nullable=True),
    _json("details"),
    _text("address", nullable=True),
    _time("created_at"),
    sa.Index(None, "created_at"),
    sa.Index(None, "user_id", "seq"),
)
"""Who did what to what. ``address``: the client's, or which command."""
