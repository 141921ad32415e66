"""Both main jobs from end to end: ours, and what serves the same by a few lines."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
from PIL import Image

from loadtests.load.callers import ANEW
from loadtests.load.drawings import DRAWINGS, encoded
from loadtests.load.stack import Started, running
from loadtests.peers.closed_loop import Send
from loadtests.peers.processes import module

PROMPT = "red apple flat"
SIDE_PX = 256


def _png(data: bytes, sizes: set[tuple[int, int]]) -> None:
    """``sizes`` are those that were seen, of whichever peer."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        picture.load()
        sizes.add(picture.size)
    if len(sizes) > 1:
        raise ValueError(f"peers draw pictures of different sizes: {sorted(sizes)}")


def _svg(data: bytes) -> None:
    if b"<svg" not in data[:200] or not data.rstrip().endswith(b"</svg>"):
        raise ValueError("no SVG")


async def _post(session: aiohttp.ClientSession, url: str, **what: object) -> bytes:
    async with session.post(url, **what) as answer:  # type: ignore[arg-type]
        data = await answer.read()
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {data[:100]!r}")
        return data


@contextlib.contextmanager
def stack_of(repository: Path, family: str) -> Iterator[Started]:
    """A stack that draws with ``family`` of ``repository`` alone: the same weights as its peers."""
    with running({"illustrator": {"model_repository": str(repository), "families": [family]}}) as started:
        yield started


@contextlib.asynccontextmanager
async def pictures(folder: Path, ours: Started, steps: int) -> AsyncIterator[dict[str, Send]]:
    """Prompt to picture. ``folder``: of a checkpoint and its engines."""
    seeds, sizes = itertools.count(1), set[tuple[int, int]]()
    kind = ["diffusers", "--path", str(folder), "--steps", str(steps)]
    with module("fastapi_server", *kind) as plain, module("litserve_server", *kind) as lit:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def atelier(_: int) -> None:
                body = {"prompt": PROMPT, "seed": next(seeds), "steps": steps}
                content = json.loads(await _post(session, f"{ours.url}/v1/images/generations", json=body, headers=ANEW))
                _png(base64.b64decode(content["data"][0]["b64_json"]), sizes)

            async def fastapi(_: int) -> None:
                _png(await _post(session, f"{plain}/draw", json={"prompt": PROMPT, "seed": next(seeds)}), sizes)

            async def litserve(_: int) -> None:
                content = json.loads(
                    await _post(session, f"{lit}/predict", json={"prompt": PROMPT, "seed": next(seeds)})
                )
                _png(base64.b64decode(content["png"]), sizes)

            yield {"Atelier": atelier, "FastAPI and diffusers": fastapi, "LitServe and diffusers": litserve}


@contextlib.asynccontextmanager
async def drawings(ours: Started) -> AsyncIterator[dict[str, Send]]:
    """Picture to SVG, tier 1."""
    files = [encoded(name, SIDE_PX) for name in DRAWINGS]
    turns = itertools.cycle(files)
    with module("fastapi_server", "vectorizer") as alone, module("fastapi_server", "vtracer") as vtracer:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def atelier(_: int) -> None:
                form = aiohttp.FormData({"tier": "1"})
                form.add_field("image", next(turns), filename="picture.png")
                headers = {**ANEW, "Accept": "image/svg+xml"}
                _svg(await _post(session, f"{ours.url}/api/convert-ai", data=form, headers=headers))

            async def fastapi(_: int) -> None:
                _svg(await _post(session, f"{alone}/convert", data=next(turns)))

            async def other(_: int) -> None:
                _svg(await _post(session, f"{vtracer}/convert", data=next(turns)))

            yield {
                "Atelier": atelier,
                "FastAPI around our Vectorizer": fastapi,
                "FastAPI and VTracer's defaults (other work)": other,
            }
