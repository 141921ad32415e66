"""The results of several generations as files of one archive, with metadata.json (C-140)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from serve.api.library.files import slug
from serve.api.library.generations import generation_json
from serve.errors import NotFound
from serve.settings import Settings
from serve.state.gallery import Generation, Result
from serve.state.objects import Objects


async def files_of(
    objects: Objects, generations: Sequence[Generation], settings: Settings
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Files for `serve.api.library.archive`. A deleted picture is left out: its ``file`` in metadata.json is null.

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
