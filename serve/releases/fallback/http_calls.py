"""HTTP calls to configured external services: limited in size and time, no redirects, cookies or proxies.

Errors and logs contain only the service's name and the kind of failure, never its response, address or key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import aiohttp
from yarl import URL

from serve.errors import EngineUnavailable

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
