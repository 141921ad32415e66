"""Generations as answers have them: in camelCase for C-044, in snake_case below /v1."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, cast

from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from serve.api.http.drawing import camel_case
from serve.api.http.headers import disposition
from serve.api.http.models import Time, Url, one_of
from serve.api.http.urls import result_url, thumbnail_url
from serve.api.library.files import slug
from serve.errors import NotFound
from serve.settings import Settings
from serve.state.gallery import Generation, Result
from serve.state.job_states import STATUSES
from serve.state.objects.objects import Objects


class ResultInfo(BaseModel):
    id: str
    model: str | None
    image_url: Url
    thumbnail_url: Url
    score: float | None
    metadata: dict[str, Any]
    generated_at: Time


class GenerationInfo(BaseModel):
    id: str
    user_id: str
    kind: str
    batch_id: str | None
    retried_from: str | None = None
    prompt: str
    enhanced_prompt: str | None
    analysis: Any = None
    model: str | None
    models: Any = None
    parameters: Any = None
    details: Any = None
    status: Annotated[str, one_of(STATUSES)]
    priority: int = 0
    error: Any = None
    favorite: bool
    rating: float | None
    cached: bool = False
    results: list[ResultInfo]
    created_at: Time
    started_at: Time | None = None
    completed_at: Time | None
    generation_time_s: float | None


class CamelCaseResult(ResultInfo, alias_generator=camel_case):
    pass


class CamelCaseGeneration(GenerationInfo, alias_generator=camel_case):
    results: list[CamelCaseResult]  # type: ignore[assignment]


def generation_json(generation: Generation, settings: Settings) -> dict[str, Any]:
    """As `GenerationInfo`."""
    document = {name: getattr(generation, name) for name in GenerationInfo.model_fields}
    times = {name: _time(document[name]) for name in ("created_at", "started_at", "completed_at")}
    return document | times | {"results": [_result(one, settings) for one in generation.results]}


def generation_in_camel_case(generation: Generation, settings: Settings) -> dict[str, Any]:
    """The same in camelCase, as C-044 has it."""
    document = generation_json(generation, settings)
    document["results"] = [_camel({**one, "metadata": _camel(one["metadata"])}) for one in document["results"]]
    for name in ("parameters", "details"):
        if isinstance(document[name], dict):
            document[name] = _camel(document[name])
    return _camel(document)


def _result(result: Result, settings: Settings) -> dict[str, Any]:
    metadata = {
        "media_type": result.media_type,
        "width": result.width,
        "height": result.height,
        "bytes": result.bytes,
        "seed": result.seed,
        **(result.details or {}),
    }
    return {
        "id": result.id,
        "model": result.model,
        "image_url": result_url(settings, result.id),
        "thumbnail_url": thumbnail_url(settings, result.id),
        "score": result.score,
        "metadata": metadata,
        "generated_at": _time(result.created_at),
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _camel(document: Mapping[str, Any]) -> dict[str, Any]:
    return {camel_case(name): value for name, value in document.items()}


async def files_of(
    objects: Objects, generations: Sequence[Generation], settings: Settings
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Files for `serve.api.library.generations`. A deleted picture is left out: its ``file`` in metadata.json is null.

    Raises StateUnavailable.
    """
    number = 0
    described = []
    for generation in generations:
        document: dict[str, Any] = generation_json(generation, settings)
        for result, description in zip(generation.results, document["results"], strict=True):
            number += 1
            name = _name(number, generation, result)
            pieces = objects.read(result.object, 0, result.bytes)
            try:
                first = await anext(pieces, b"")
            except NotFound:
                description["file"] = None
                continue
            description["file"] = name
            yield name, _all(first, pieces)
        described.append(document)
    text = json.dumps({"generations": described}, indent=2)
    yield "metadata.json", _all(text.encode())


def _name(number: int, generation: Generation, result: Result) -> str:
    """Such as ``001-red-apple-7.png``. The number makes names unique and sorts them."""
    seed = None if result.seed is None else str(result.seed)
    parts = [f"{number:03d}", slug(generation.prompt) or generation.kind, seed]
    return f"{'-'.join(part for part in parts if part)}.{result.object.rpartition('.')[2]}"


async def _all(first: bytes, rest: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    yield first
    if rest is not None:
        async for piece in rest:
            yield piece


_FILE_MODE = 0o644 << 16


class _Sink:
    """A write-only file; `take` returns the bytes written since the last call."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


async def zip_stream(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]]) -> AsyncIterator[bytes]:
    """The pieces of a ZIP of ``files``, each a name and its content; at most one piece is in memory.

    Names have to differ. An error of ``files`` truncates the ZIP, which readers then report as incomplete.
    """
    sink = _Sink()
    archive = zipfile.ZipFile(cast(Any, sink), "w", zipfile.ZIP_STORED)
    async for name, pieces in files:
        entry = zipfile.ZipInfo(name, time.gmtime()[:6])
        entry.external_attr = _FILE_MODE
        # Its length is not known yet: the 64-bit form allows any length.
        with archive.open(entry, "w", force_zip64=True) as file:
            async for piece in pieces:
                file.write(piece)
                yield sink.take()
        yield sink.take()
    archive.close()
    yield sink.take()


def zip_response(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]], filename: str) -> StreamingResponse:
    headers = {"Content-Disposition": disposition("attachment", filename)}
    return StreamingResponse(zip_stream(files), headers=headers, media_type="application/zip")
