"""HTTP calls to configured external services: limited in size and time, no redirects, cookies or proxies.

Errors and logs contain only the service's name and the kind of failure, never its response, address or key.
Also: which errors count as failures, and time limits on streams.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from importlib.metadata import version
from typing import Any

import aiohttp
from yarl import URL

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.service import StreamItem
from serve.errors import (
    AtelierError,
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    ModerationBlocked,
    Overloaded,
    PictureNotClassified,
)

USER_AGENT = f"atelier/{version('atelier')}"
_CHUNK_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 8192
_MAX_HEADERS = 64
_CLIENT_ERRORS = (400, 413, 422)
"""Statuses that blame the request."""


class ExternalCallFailed(EngineUnavailable):
    """An external service failed to answer properly."""

    kind = "outside-failed"


class RequestRejected(ExternalCallFailed):
    """The service rejected this request; others may succeed."""

    kind = "not-for-this"


async def post_json(
    url: URL, headers: Mapping[str, str], body: bytes, *, timeout_s: float, max_bytes: int
) -> Mapping[str, Any]:
    """The JSON object of the response. ``url`` is sent as it is, encoded. Raises ExternalCallFailed, RequestRejected if
    the request is at fault."""
    try:
        async with asyncio.timeout(timeout_s), _session() as session:
            sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": USER_AGENT, **headers}
            async with session.post(url, data=body, headers=sent, allow_redirects=False) as answer:
                found = await _body(answer, max_bytes)
    except TimeoutError:
        raise ExternalCallFailed(f"did not answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ExternalCallFailed(f"could not be asked ({type(error).__name__})") from None
    try:
        document = await asyncio.to_thread(json.loads, found)
    except (ValueError, RecursionError):
        raise ExternalCallFailed("answered what is not JSON") from None
    if not isinstance(document, dict):
        raise ExternalCallFailed("answered JSON that is no object")
    return document


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if answer.status != 200:
        failed = RequestRejected if answer.status in _CLIENT_ERRORS else ExternalCallFailed
        raise failed(f"answered with status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise ExternalCallFailed("answered compressed, though asked not to")
    body = bytearray()
    if (answer.content_length or 0) <= max_bytes:
        async for piece in answer.content.iter_chunked(_CHUNK_BYTES):
            body += piece
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    raise ExternalCallFailed(f"answered with more than {max_bytes} bytes")


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=1),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_CHUNK_BYTES,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
        trust_env=False,
    )


CLOCK_TOLERANCE_S = 0.05
"""Tolerance when comparing deadlines of different processes."""


async def with_time_limit(items: AsyncGenerator[StreamItem, None], limit_s: float) -> AsyncGenerator[StreamItem, None]:
    """Apply a time limit to a stream, even if its source ignores it. Raises DeadlineExceeded."""
    until = asyncio.get_running_loop().time() + limit_s
    while True:
        try:
            async with asyncio.timeout_at(until):
                item = await anext(items, None)
        except TimeoutError:
            raise timeout_error(limit_s) from None
        if item is None:
            return
        yield item


def is_engine_fault(error: AtelierError) -> bool:
    return isinstance(error, EngineUnavailable | EngineFailure | DeadlineExceeded)


def is_failure(
    error: AtelierError, is_primary: bool, options: IllustrateOptions, limit_s: float, deadline: float
) -> bool:
    """Whether the breaker counts it. Excluded: short deadlines set by the client, rejected requests, and unavailable
    moderation."""
    if isinstance(error, RequestRejected | PictureNotClassified):
        return False
    if isinstance(error, DeadlineExceeded):
        short = options.timeout_s is not None and options.timeout_s < limit_s
        return not (short and time.monotonic() >= deadline - CLOCK_TOLERANCE_S)
    return is_engine_fault(error) or (
        not is_primary and not isinstance(error, Overloaded | Cancelled | ModerationBlocked)
    )


def timeout_error(limit_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {limit_s:.3g} s")


def summary(error: AtelierError) -> str:
    return f"{error.label()}: {error.message[:200]}"
