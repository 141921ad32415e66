"""Tables of the durable job queue: jobs, events, workers, webhooks."""

from __future__ import annotations

import sqlalchemy as sa

from serve.state.tables.schema import (
    boolean_column,
    generation_column,
    id_column,
    integer_column,
    json_column,
    metadata,
    text_column,
    time_column,
)

jobs = sa.Table(
    "jobs",
    metadata,
    generation_column(primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    text_column("user_id"),
    text_column("lane"),
    text_column("status"),
    integer_column("rank"),
    sa.Column("round", sa.BigInteger, nullable=False),
    time_column("available_at"),
    json_column("request", nullable=False),
    text_column("worker_id", nullable=True),
    integer_column("attempt"),
    integer_column("failures"),
    text_column("wish", nullable=True),
    sa.Column("progress", sa.Float, nullable=False, server_default="0"),
    json_column("stage"),
    integer_column("events"),
    text_column("webhook_url", nullable=True),
    json_column("webhook_events"),
    json_column("context"),
    time_column("expires_at", nullable=True),
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Index(None, "lane", "status", "rank", "round", "seq"),
    sa.Index(None, "user_id", "lane", "status", "rank", "round"),
    sa.Index(None, "status", "user_id"),
    sa.Index(None, "worker_id"),
    sa.Index(None, "expires_at"),
)
"""The queue's part of a generation. ``status`` equals the generation's; both change in one transaction.

Jobs of a lane start in the order of ``rank`` (the negated priority), ``round``, ``seq``. ``context`` carries the
request's id and trace context; ``cpu_seconds`` and ``gpu_seconds`` are the cost of all attempts so far. ``wish`` is a
pending cancel or pause."""

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    generation_column(primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    integer_column("step"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Saved state of each picture of a running job."""

events = sa.Table(
    "events",
    metadata,
    generation_column(primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    text_column("kind"),
    json_column("data", nullable=False),
    time_column("created_at"),
    sa.Index(None, "created_at"),
)
"""Events of a job, numbered from 1 without gaps."""

workers = sa.Table(
    "workers",
    metadata,
    id_column(),
    sa.Column("beat", sa.BigInteger, nullable=False),
    json_column("slots", nullable=False),
    time_column("started_at"),
)
"""Lease holders. A lease is valid as long as ``beat`` keeps increasing."""

lanes = sa.Table(
    "lanes",
    metadata,
    id_column("lane"),
    boolean_column("paused"),
)
"""Paused lanes; a lane without a row runs."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    id_column(),
    generation_column(),
    sa.Column("event", sa.Integer, nullable=False),
    text_column("url"),
    text_column("host"),
    text_column("kind"),
    json_column("body", nullable=False),
    json_column("context"),
    text_column("status"),
    integer_column("attempts"),
    text_column("worker_id", nullable=True),
    sa.Column("answer", sa.Integer, nullable=True),
    time_column("due_at"),
    time_column("created_at"),
    sa.Index(None, "status", "due_at"),
    sa.Index(None, "generation_id", "status", "event"),
)
"""Webhooks: pending, delivered or failed. ``event`` is its number; ``host`` includes the port, if the URL names one."""
