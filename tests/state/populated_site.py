"""A site with rows in every table, and the content by which two sites are compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from serve.state import State, tables
from serve.state.database import Database

WHEN = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PICTURES = [f"picture {number}".encode() * (1 + 9000 * number) for number in range(6)]
DRAWING = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
LEFT_OUT = ("workers", "flights", "lanes", "chores", "counters", "replicas")


def _generation(number: int, **values: Any) -> dict[str, Any]:
    row = {
        "id": f"g{number}", "user_id": "ada", "kind": "illustrate", "prompt": "Füchse 狐 \"quoted\" 'n' \\ \n end",
        "enhanced_prompt": None, "analysis": None, "models": None, "parameters": {"seed": 2**62, "n": None},
        "status": "completed", "rating": None, "favorite": number % 2 == 0, "created_at": WHEN, "completed_at": None,
        "generation_time_s": None, "error": None,
    }  # fmt: skip
    return row | values


async def fill(state: State) -> list[str]:
    """Inserts rows into every table; returns the names of the objects they refer to. The store has one more."""
    stored = await state.objects.put_all([(data, "image/png") for data in PICTURES] + [(DRAWING, "image/svg+xml")])
    await state.objects.put(b"nobody's", "image/webp")
    names = [one.name for one in stored]
    generations = [
        _generation(1, analysis={"mood": ["calm", {"deep": [1, 2.5, None, True]}]}, models=["diffusion"], rating=0.1),
        _generation(2, completed_at=WHEN + timedelta(microseconds=1), generation_time_s=1 / 3),
        _generation(3, status="processing"),
        _generation(4, status="pending", error={"type": "X", "detail": "\ud83e\udd8a \u0000 is fine in JSON"}),
        _generation(5, kind="vectorize", prompt=""),
    ]
    common: dict[str, Any] = {"created_at": WHEN}
    result = {"media_type": "image/png", "bytes": 5, "created_at": WHEN, "seed": 2**63 - 1, "thumbnail": None}
    job: dict[str, Any] = {
        "user_id": "ada", "lane": "illustrate", "available_at": WHEN, "request": {"kind": "illustrate", "options": {}},
        "webhook_events": ["completed"], "wish": None, "worker_id": None,
    }  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {
        "generations": generations,
        "results": [
            {"id": "r1", "generation_id": "g1", "place": 0, "object": names[0], **result},
            {"id": "r2", "generation_id": "g2", "place": 0, "object": names[1], **result, "thumbnail": names[2]},
            {"id": "r5", "generation_id": "g5", "place": 0, "object": names[6], **result, "seed": None},
        ],
        "embeddings": [
            {"result_id": "r1", "engine": "0123456789abcdef", "vector": bytes(range(256))},
            {"result_id": "r5", "engine": "", "vector": None},
        ],
        "inputs": [{"generation_id": "g5", "object": names[3]}],
        "jobs": [
            {"generation_id": "g3", "seq": 3, "round": 1, "status": "processing", **job, "events": 1, "worker_id": "w"},
            {"generation_id": "g4", "seq": 4, "round": 2**40, "status": "pending", **job, "events": 0},
        ],
        "checkpoints": [{"generation_id": "g3", "place": 0, "step": 5, "data": bytes(range(256)) * 300}],
        "events": [{"generation_id": "g3", "n": 1, "kind": "started", "data": {"a": [1]}, **common}],
        "workers": [{"id": "w", "beat": 3, "slots": {"illustrate": 1}, "started_at": WHEN}],
        "lanes": [{"lane": "illustrate", "paused": True}],
        "flights": [{"key": "k", "generation_id": "g1", "worker_id": "w"}],
        "batches": [{"id": "b1", "user_id": "ada", "size": 2, **common}],
        "idempotency_keys": [{"user_id": "ada", "key": "k", "body_hash": "h", "target": "g1", **common}],
        "deliveries": [
            {
                "id": "d1", "generation_id": "g1", "event": 2, "url": "https://x.example", "host": "x.example",
                "kind": "completed", "body": {"a": 1}, "status": "pending",
                "worker_id": "w", "answer": None, "due_at": WHEN, **common,
            }
        ],
        "cache": [
            {"key": "c", "kind": "illustrate", "answer": [1], "bytes": 9, "expires_at": WHEN, "used_at": WHEN, **common}
        ],
        "cached_objects": [{"key": "c", "object": names[4]}],
        "loras": [
            {
                "name": "ink", "object": names[5], "bytes": 9, "families": ["mini"], "parts": ["unet"], "rank": 4,
                "layers": 2, "user_id": "ada", **common,
            }
        ],
        "subject_references": [
            {
                "id": "s1", "user_id": "ada", "subject_name": "fox", "object": names[5], "thumbnail": names[2],
                "md5": "m", "width": 5, "height": 5, "bytes": 9, **common,
            }
        ],
        "measurements": [
            {
                "generation_id": "g1", "user_id": "ada", "kind": "illustrate", "prompt": "", "generation_time_s": 1e-9,
                "success": True, "error_message": None, **common,
            }
        ],
        "quality_samples": [
            {
                "generation_id": "g5", "image_sha256": "a" * 64, "embedding": bytes(range(256)) * 4,
                "trials": [[0.0] * 10 + [0.9, 1200, 7]], "parameters": {"tolerance": 0.25}, "predicted_quality": 0.8,
                "actual_quality": 0.9, "prediction_error": 0.1, "engine_versions": {"quality": "1"}, **common,
            }
        ],
        "flags": [{"name": "new", "enabled": True, "percentage": 12.5, "users": ["ada"], "updated_at": WHEN}],
        "exposures": [{"experiment": "steps", "generation_id": "g1", "arm": "many", "user_id": "ada", **common}],
        "rollouts": [{"engine": "quality", "current": "2", "previous": "1", "percentage": 12.5, "updated_at": WHEN}],
        "replicas": [{"id": "r", "beat": 3, "engines": {"quality": {}}, "updated_at": WHEN}],
        "sealed_secrets": [{"name": "cloud", "sealed": "gAAAA", "updated_at": WHEN}],
        "counters": [{"key": "k", "used": 3, "expires_at": WHEN}],
        "chores": [{"name": "objects", "done_at": WHEN}],
        "users": [{"id": "u1", "email": None, "role": "admin", "disabled_at": WHEN, **common}],
        "keys": [{"id": "k1", "user_id": "u1", "secret_hash": "h", "scopes": ["draw"], **common}],
        "prompts": [{"id": "p1", "user_id": "ada", "text": "a fox", "analysis": None, **common}],
        "memories": [{"id": "m1", "user_id": "ada", "title": "a boat", **common}],
        "conversations": [{"id": "c1", "user_id": "ada", "messages": [{"role": "user"}], "updated_at": WHEN, **common}],
        "feedback": [{"id": "f1", "user_id": "ada", "generation_id": "g1", "kind": "rate", "value": -0.5, **common}],
        "preferences": [{"user_id": "ada", "document": {"epsilon": 0.1}, "updated_at": WHEN}],
        "audit": [{"user_id": None, "action": "delete", "details": {"n": 1}, **common}],
    }  # fmt: skip
    async with state.database.write() as connection:
        for table in tables.metadata.sorted_tables:
            if table is not tables.objects:
                await connection.execute(table.insert(), [_complete(table, row) for row in rows.pop(table.name)])
    assert not rows
    return names


_ANY: dict[type, Any] = {str: "x", int: 1, datetime: WHEN, dict: {}}


def _complete(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row with a value in every required column; autoincrement columns are left out."""
    required = [c for c in table.columns if not c.nullable and c.server_default is None and c.autoincrement is not True]
    return {column.name: _ANY.get(column.type.python_type) for column in required} | row


async def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is part of a backup."""
    rows_by_table = {}
    async with database.read() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name not in LEFT_OUT:
                rows = await connection.execute(sa.select(table).order_by(*table.primary_key.columns))
                rows_by_table[table.name] = [tuple(row) for row in rows]
    return rows_by_table
