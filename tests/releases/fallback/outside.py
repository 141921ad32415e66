"""External image services on loopback: HTTP servers that return pictures or faults, and chains that call them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web
from illustrator_standin import IllustratorStandIn, disk, family
from pictures import encode
from PIL import Image
from pydantic import SecretStr

from serve.errors import NotFound
from serve.releases.fallback.illustrator import FallbackIllustrator
from serve.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-of-the-outside"


@dataclass
class Service:
    """``answer`` handles a request; ``requests`` keeps the received ones: path, headers, JSON."""

    answer: Handler
    port: int = 0
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.raw_path, headers, json.loads(await request.read() or b"null")))
        return await self.answer(request)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Service]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


def in_base64(pixels: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(encode(Image.fromarray(pixels))).decode()


def picture(side: int = 64) -> str:
    return in_base64(disk(side, side, 3))


def answers(document: Any, status: int = 200, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status, headers=headers)

    return answer


def openai_answers(b64: str | None = None) -> Handler:
    return answers({"created": 1, "data": [{"b64_json": picture() if b64 is None else b64}]})


def openai_step(url: str, **more: Any) -> dict[str, Any]:
    usual = {"kind": "openai", "name": "cloud", "model": "dall-e-2", "base_url": f"{url}/v1", "api_key": KEY}
    return {**usual, **more}


def chain_settings(*steps: dict[str, Any], **more: Any) -> Settings:
    flags = more.pop("flags", {})
    limits = {"timeout_s": more.pop("limit_s", 30.0)}
    return Settings(fallback={"steps": steps, **more}, flags=flags, illustrator=limits)  # type: ignore[arg-type]


async def no_key(name: str) -> SecretStr:
    raise NotFound("no secret is kept", "name")


def chain(primary: IllustratorStandIn, settings: Settings, **more: Any) -> FallbackIllustrator:
    return FallbackIllustrator(primary, settings, more.pop("key", no_key), **more)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hanging(IllustratorStandIn):
    """Sends the response's headers, and then nothing."""

    async def _step(self, step: int) -> None:
        await asyncio.Event().wait()


__all__ = ["Clock", "Hanging", "IllustratorStandIn", "family"]
