"""`OpenAIChat`: a chat model behind an OpenAI-compatible URL (vLLM, Ollama, llama.cpp's server, ...), as a stream.

The URL is the site's. What answers there is not trusted: no redirects, cookies or proxies; time limits to the first
piece, between pieces and in all; limits of bytes and lines; whatever is not as the protocol says ends the call. Errors
and logs never contain its text.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import aiohttp
from yarl import URL

from serve.ensembles.director.chat_model import ChatFailed, ChatOptions, Message, UselessReply
from serve.ensembles.director.tools import without_controls
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import DirectorSettings

_MAX_LINE = 64 * 1024
_MAX_HEADERS, _MAX_HEADER_BYTES = 64, 8192
_REFUSED = (400, 413, 422)
"""Statuses that say that this request is at fault, as one that is too long."""


class OpenAIChat:
    """For one event loop. ``settings.base_url`` ends in /v1, like OpenAI's."""

    def __init__(self, settings: DirectorSettings) -> None:
        assert settings.base_url is not None
        self.name = settings.model
        self._settings = settings
        self._url = URL(f"{settings.base_url}/chat/completions", encoded=True)
        self._admission = AdmissionQueue(settings.max_concurrency, settings.max_queued)

    async def stream(self, messages: Sequence[Message], options: ChatOptions) -> AsyncGenerator[str, None]:
        """Pieces of the answer. Raises ChatFailed, Overloaded, DeadlineExceeded."""
        async with self._admission.slot():
            deadline = asyncio.get_running_loop().time() + self._settings.timeout_s
            async with contextlib.aclosing(self._pieces(self._body(messages, options))) as pieces:
                while (piece := await _next(pieces, deadline)) is not None:
                    yield piece

    def _body(self, messages: Sequence[Message], options: ChatOptions) -> bytes:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": one.role, "content": _content(one)} for one in messages],
            "stream": True,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
        }
        if self._settings.llama_options:
            body |= {"top_k": options.top_k, "repeat_penalty": options.repeat_penalty}
        return json.dumps(body).encode()

    async def _pieces(self, body: bytes) -> AsyncGenerator[str, None]:
        headers = {
            "Content-Type": "application/json", "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity", "User-Agent": "atelier",
        }  # fmt: skip
        if self._settings.api_key is not None:
            headers["Authorization"] = f"Bearer {self._settings.api_key.get_secret_value()}"
        async with (
            self._session() as session,
            session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                failure = UselessReply if response.status in _REFUSED else ChatFailed
                raise failure(f"answered with status {response.status}")
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                raise ChatFailed("answered compressed, though asked not to")
            if not response.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                yield _whole(await self._all(response))
                return
            async for line in self._lines(response):
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    if piece := _delta(data):
                        yield piece
        raise ChatFailed("ended its answer before the end")

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        rest, total = bytearray(), 0
        async for chunk in response.content.iter_any():
            total += len(chunk)
            rest += chunk
            if total > self._settings.max_bytes or len(rest) > self._settings.max_bytes:
                raise UselessReply("answered too much")
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            if len(rest) > _MAX_LINE:
                raise ChatFailed("answered what is no stream of events")
            for line in lines:
                yield bytes(line.strip(b"\r"))

    async def _all(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._settings.max_bytes:
                raise UselessReply("answered too much")
        return bytes(body)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=1),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.idle_timeout_s,
                                          sock_read=self._settings.idle_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            trust_env=False,
        )  # fmt: skip


def remote_chat_at(settings: DirectorSettings) -> OpenAIChat | None:
    """The language model at ``director.base_url``; None without the setting."""
    return None if settings.base_url is None else OpenAIChat(settings)


def _content(message: Message) -> str | list[dict[str, Any]]:
    """With a picture, the parts of OpenAI's vision models."""
    if not message.picture:
        return message.content
    url = f"data:image/png;base64,{base64.b64encode(message.picture).decode()}"
    return [{"type": "text", "text": message.content}, {"type": "image_url", "image_url": {"url": url}}]


async def _next(pieces: AsyncGenerator[str, None], deadline: float) -> str | None:
    """The next piece; None after the last. The time limit is around the read alone: a limit around a ``yield`` would
    cancel whatever the caller does in between."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(pieces, None)
    except TimeoutError:
        raise ChatFailed("did not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ChatFailed(f"could not be reached ({type(error).__name__})") from None


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ChatFailed("answered what is not JSON") from None
    if not isinstance(document, dict) or "error" in document:
        raise ChatFailed("answered an error")
    return document


def _delta(data: bytes) -> str:
    return _text_of(_document(data), "delta")


def _whole(data: bytes) -> str:
    return _text_of(_document(data), "message")


def _text_of(document: dict[str, Any], where: str) -> str:
    """The text of the first choice, without control characters; empty where there is none, as in the last chunk."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        raise ChatFailed("answered in another form than OpenAI's")
    if not choices:
        return ""
    part = choices[0].get(where) if isinstance(choices[0], dict) else None
    if not isinstance(part, dict):
        raise ChatFailed("answered in another form than OpenAI's")
    text = part.get("content")
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ChatFailed("answered in another form than OpenAI's")
    return str(without_controls(text))
