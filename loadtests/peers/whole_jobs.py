"""Both main jobs from end to end: ours, and what serves the same by a few lines."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from loadtests.load.callers import ANEW
from loadtests.load.drawings import DRAWINGS, encoded
from loadtests.load.stack import running
from loadtests.peers.closed_loop import Check, Samples, post, run_closed_loop
from loadtests.peers.peer import Peer, Server, over_http
from loadtests.peers.processes import module

PROMPT = "red apple flat"
SIDE_PX = 256
REPOSITORY = "model_repository"
CACHED = b"x-atelier-cache: hit"
"""In the head of an answer from the cache."""
FIRST_S = 0.5
"""For which each is asked before, so that it is in the cache."""
_BOUNDARY = "atelier-peers-boundary"
FORM = f"multipart/form-data; boundary={_BOUNDARY}"


def _png(data: bytes, sizes: set[tuple[int, int]]) -> None:
    """``sizes`` are those that were seen, of whichever peer."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        picture.load()
        sizes.add(picture.size)
    if len(sizes) > 1:
        raise ValueError(f"peers draw pictures of different sizes: {sorted(sizes)}")


def pictures(folder: Path, family: str, steps: int) -> dict[str, Peer]:
    """Prompt to picture. ``folder``: of a checkpoint and its engines, of which the stack serves ``family`` alone."""
    seeds, sizes = itertools.count(1), set[tuple[int, int]]()
    kind = ["diffusers", "--path", str(folder), "--steps", str(steps)]
    repository = folder / REPOSITORY

    def requests(address: str, path: str, **fields: int) -> Iterator[bytes]:
        headers = [("Content-Type", "application/json"), *ANEW.items()]
        for seed in seeds:
            yield post(address, path, json.dumps({"prompt": PROMPT, "seed": seed, **fields}).encode(), headers)

    def check_openai(_: bytes, body: bytes) -> None:
        _png(base64.b64decode(json.loads(body)["data"][0]["b64_json"]), sizes)

    def check_png(_: bytes, body: bytes) -> None:
        _png(body, sizes)

    def check_litserve(_: bytes, body: bytes) -> None:
        _png(base64.b64decode(json.loads(body)["png"]), sizes)

    @contextlib.contextmanager
    def atelier() -> Iterator[Server]:
        with running({"illustrator": {"model_repository": str(repository), "families": [family]}}) as started:
            address = started.url.removeprefix("http://")
            asked = requests(address, "/v1/images/generations", steps=steps)
            yield Server(started.pid, {"Atelier": over_http(address, asked, check_openai)})

    @contextlib.contextmanager
    def peer(name: str, title: str, path: str, check: Check) -> Iterator[Server]:
        with module(name, *kind) as started:
            yield Server(started.pid, {title: over_http(started.address, requests(started.address, path), check)})

    return {
        "atelier": atelier,
        "fastapi": partial(peer, "fastapi_server", "FastAPI and diffusers", "/draw", check_png),
        "litserve": partial(peer, "litserve_server", "LitServe and diffusers", "/predict", check_litserve),
    }


def check_svg(_: bytes, body: bytes) -> None:
    if b"<svg" not in body[:200] or not body.rstrip().endswith(b"</svg>"):
        raise ValueError("no SVG")


def check_cached_svg(head: bytes, body: bytes) -> None:
    check_svg(head, body)
    if CACHED not in head.lower():
        raise ValueError("not from the cache")


@contextlib.contextmanager
def cached() -> Iterator[Server]:
    """The stack, asked for conversions that are in its cache."""
    with running() as started:
        address = started.url.removeprefix("http://")
        headers = [("Content-Type", FORM), ("Accept", "image/svg+xml")]
        forms = [post(address, "/api/convert-ai", form(encoded(name, SIDE_PX)), headers) for name in DRAWINGS]
        for request in forms:
            run_closed_loop(address, itertools.repeat(request), check_svg, 1, FIRST_S, Samples())
        turns = itertools.cycle(forms)
        yield Server(started.pid, {"from the cache": over_http(address, turns, check_cached_svg)})


def drawings() -> dict[str, Peer]:
    """Picture to SVG, tier 1."""
    files = [encoded(name, SIDE_PX) for name in DRAWINGS]

    @contextlib.contextmanager
    def atelier() -> Iterator[Server]:
        with running() as started:
            address = started.url.removeprefix("http://")
            headers = [("Content-Type", FORM), ("Accept", "image/svg+xml")]
            forms = [post(address, "/api/convert-ai", form(file), [*headers, *ANEW.items()]) for file in files]
            yield Server(started.pid, {"Atelier": over_http(address, itertools.cycle(forms), check_svg)})

    @contextlib.contextmanager
    def fastapi(kind: str, title: str) -> Iterator[Server]:
        with module("fastapi_server", kind) as started:
            turns = itertools.cycle([post(started.address, "/convert", file) for file in files])
            yield Server(started.pid, {title: over_http(started.address, turns, check_svg)})

    return {
        "atelier": atelier,
        "fastapi": partial(fastapi, "vectorizer", "FastAPI around our Vectorizer"),
        "vtracer": partial(fastapi, "vtracer", "FastAPI and VTracer's defaults (other work)"),
    }


def form(file: bytes) -> bytes:
    """The multipart form of a conversion by tier 1."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="'
    tier = f'{head}tier"\r\n\r\n1\r\n'
    image = f'{head}image"; filename="picture.png"\r\nContent-Type: image/png\r\n\r\n'
    return tier.encode() + image.encode() + file + f"\r\n--{_BOUNDARY}--\r\n".encode()
