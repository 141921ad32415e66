"""What OpenAPI says of the routes that tell what happens to a job."""

from __future__ import annotations

from typing import Any

from serve.api.jobs.orders import MAX_WAIT_S
from serve.api.jobs.schema import parameter
from serve.api.library.files import SIGNATURE
from serve.api.openapi.operation import TEXT, WHOLE, event_stream
from serve.ensembles.illustrator.encoding import MEDIA_TYPES

EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {"id": WHOLE, "event": TEXT, "data": {"type": "object"}},
    "example": {"id": 2, "event": "processing", "data": {"status": "processing", "progress": 0.0}},
}


PREVIEW: dict[str, Any] = {
    "parameters": [parameter("query", "v", "changes with the preview"), *SIGNATURE],
    "responses": {
        "200": {
            "description": "A picture",
            "content": {one: {"schema": {**TEXT, "format": "binary"}} for one in MEDIA_TYPES.values()},
        }
    },
}
_STREAM = event_stream(
    {"id": "2", "event": "processing", "data": '{"status": "processing", "progress": 0.0}', "retry": 1000},
    {"type": "object"},
)
EVENTS: dict[str, Any] = {
    "parameters": [
        parameter(
            "query",
            "after",
            "the number of the last event that is known",
            {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        ),
        parameter(
            "query",
            "wait_s",
            "how long JSON waits for an event",
            {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
        ),
        parameter("query", "stream", "server-sent events, whatever Accept says", {"type": "boolean"}),
        parameter("header", "Last-Event-ID", "as after, and wins over it"),
        *SIGNATURE,
    ],
    "responses": {
        "200": {
            "description": "JSON, or server-sent events that end after the last one",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "events": {"type": "array", "items": EVENT},
                            "last": {"type": "integer"},
                            "over": {"type": "boolean"},
                        },
                    }
                },
                **_STREAM,
            },
        },
        "204": {"description": "As a stream: nothing follows that number any more"},
    },
}
STREAM: dict[str, Any] = {
    "parameters": [one for one in EVENTS["parameters"] if one["name"] in ("after", "Last-Event-ID")],
    "responses": {
        "200": {
            "description": "Server-sent events that end after the last one",
            "content": _STREAM,
        },
        "204": {"description": "Nothing follows that number any more"},
    },
}
