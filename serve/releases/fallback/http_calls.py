"""Calls to services outside that the site named: bounded in size and time, without redirections, cookies or proxies.

What a service says, its address and its key are in no error and no log: only who failed, and how.
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

AGENT = f"atelier/{version('atelier')}"
_PIECE = 64 * 1024
_LONGEST_HEADER = 8192
_MOST_HEADERS = 64
_AT_FAULT = (400, 413, 422)
"""Statuses that say so of the request."""


class ExternalCallFailed(EngineUnavailable):
    """A service outside did not give what it was asked for."""

    kind = "outside-failed"


class NotForThis(ExternalCallFailed):
    """It would not do this very request, as far as it says: another may well go."""

    kind = "not-for-this"


async def post_json(
    url: URL, headers: Mapping[str, str], body: bytes, *, timeout_s: float, max_bytes: int
) -> Mapping[str, Any]:
    """The JSON object that it answers. ``url`` is called as it is, encoded. Raises OutsideFailed, NotForThis for
    an answer that the request is at fault."""
    try:
        async with asyncio.timeout(timeout_s), _session() as session:
            sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": AGENT, **headers}
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
        failed = NotForThis if answer.status in _AT_FAULT else ExternalCallFailed
        raise failed(f"answered with status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise ExternalCallFailed("answered compressed, though asked not to")
    body = bytearray()
    if (answer.content_length or 0) <= max_bytes:
        async for piece in answer.content.iter_chunked(_PIECE):
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
        read_bufsize=_PIECE,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        max_headers=_MOST_HEADERS,
        trust_env=False,
    )
