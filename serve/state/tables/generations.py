"""Tables of requests and their history, and of what users say about them."""

from __future__ import annotations

import sqlalchemy as sa

from serve.state.tables.schema import (
    SequenceNumber,
    boolean_column,
    generation_column,
    id_column,
    integer_column,
    json_column,
    metadata,
    text_column,
    time_column,
)

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    text_column("user_id"),
    text_column("kind"),
    boolean_column("direct"),
    text_column("batch_id", nullable=True),
    text_column("retried_from", nullable=True),
    text_column("prompt", default=""),
    text_column("enhanced_prompt", nullable=True),
    json_column("analysis"),
    text_column("model", nullable=True),
    json_column("models"),
    json_column("parameters"),
    json_column("details"),
    text_column("status"),
    integer_column("priority"),
    json_column("error"),
    boolean_column("favorite"),
    sa.Column("rating", sa.Float, nullable=True),
    boolean_column("cached"),
    time_column("created_at"),
    time_column("started_at", nullable=True),
    time_column("completed_at", nullable=True),
    sa.Column("generation_time_s", sa.Float, nullable=True),
    sa.Index(None, "user_id", "created_at", "seq"),
    sa.Index(None, "created_at", "seq"),
    sa.Index(None, "batch_id"),
)
"""One row per request, synchronous or queued: history and gallery (C-044). ``details`` is what an answer reports beside
its results: model versions, tokens, time per stage."""

results = sa.Table(
    "results",
    metadata,
    id_column(),
    generation_column(),
    integer_column("place"),
    text_column("object"),
    text_column("media_type"),
    text_column("model", nullable=True),
    sa.Column("width", sa.Integer, nullable=True),
    sa.Column("height", sa.Integer, nullable=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=True),
    sa.Column("score", sa.Float, nullable=True),
    text_column("thumbnail", nullable=True),
    json_column("details"),
    time_column("created_at"),
    sa.Index(None, "generation_id", "place", unique=True),
    sa.Index(None, "object"),
    sa.Index(None, "thumbnail"),
)
"""Pictures and drawings. ``object`` and ``thumbnail`` are names in the object store."""

embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("result_id", sa.Text, sa.ForeignKey("results.id", ondelete="CASCADE"), primary_key=True),
    text_column("engine", default=""),
    sa.Column("vector", sa.LargeBinary, nullable=True),
    sa.Index(None, "engine"),
)
"""Of results, for search by likeness: float16 by the engine with that fingerprint; an empty one has not seen it yet."""

inputs = sa.Table(
    "inputs",
    metadata,
    generation_column(primary_key=True),
    sa.Column("object", sa.Text, primary_key=True),
    sa.Index(None, "object"),
)
"""Input objects of a generation."""

batches = sa.Table(
    "batches",
    metadata,
    id_column(),
    text_column("user_id"),
    integer_column("size"),
    time_column("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    text_column("body_hash"),
    text_column("target"),
    time_column("created_at"),
    sa.Index(None, "created_at"),
)
"""``target``: the generation or batch that the key was first used for."""

flights = sa.Table(
    "flights",
    metadata,
    id_column("key"),
    text_column("generation_id"),
    text_column("worker_id"),
    sa.Index(None, "worker_id"),
)
"""Synchronous requests in flight, so that an identical request joins instead of starting again."""

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    text_column("generation_id"),
    text_column("user_id"),
    text_column("kind"),
    text_column("prompt", default=""),
    sa.Column("generation_time_s", sa.Float, nullable=False),
    sa.Column("success", sa.Boolean, nullable=False),
    text_column("error_message", nullable=True),
    text_column("model_used", nullable=True),
    boolean_column("cached"),
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"),
    time_column("created_at"),
    sa.Index(None, "created_at", "seq"),
    sa.Index(None, "kind", "seq"),
    sa.Index(None, "generation_id"),
)
"""One row per finished request (A-090); it outlives the generation, without its prompt."""

quality_samples = sa.Table(
    "quality_samples",
    metadata,
    sa.Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    generation_column(index=True),
    text_column("image_sha256"),
    sa.Column("embedding", sa.LargeBinary, nullable=False),
    json_column("trials", nullable=False),
    json_column("parameters", nullable=False),
    sa.Column("predicted_quality", sa.Float, nullable=False),
    sa.Column("actual_quality", sa.Float, nullable=False),
    sa.Column("prediction_error", sa.Float, nullable=False),
    json_column("engine_versions", nullable=False),
    boolean_column("with_picture"),
    time_column("created_at"),
)
"""Conversions recorded for training (D-080); deleted with their generation. ``prediction_error``: actual less predicted
quality. ``with_picture``: whether the input may be exported."""

prompts = sa.Table(
    "prompts",
    metadata,
    id_column(),
    text_column("user_id"),
    text_column("text"),
    json_column("analysis"),
    text_column("keywords", default=""),
    boolean_column("favorite"),
    time_column("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

memories = sa.Table(
    "memories",
    metadata,
    id_column(),
    text_column("user_id"),
    text_column("title", default=""),
    text_column("content", default=""),
    text_column("date", nullable=True),
    time_column("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

conversations = sa.Table(
    "conversations",
    metadata,
    id_column(),
    text_column("user_id"),
    text_column("title", default=""),
    json_column("messages", nullable=False),
    text_column("final_prompt", nullable=True),
    text_column("generation_id", nullable=True),
    text_column("status", default="active"),
    time_column("created_at"),
    time_column("updated_at"),
    sa.Index(None, "user_id", "updated_at"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    id_column(),
    text_column("user_id"),
    generation_column(index=True),
    text_column("result_id", nullable=True),
    text_column("kind"),
    sa.Column("value", sa.Float, nullable=True),
    text_column("comment", nullable=True),
    time_column("created_at"),
    sa.Index(None, "user_id", "created_at"),
)

preferences = sa.Table(
    "preferences",
    metadata,
    id_column("user_id"),
    json_column("document", nullable=False),
    time_column("updated_at"),
)
