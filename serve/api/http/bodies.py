"""Request bodies, read under a cap while they stream in: nothing unbounded is ever held."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serve.errors import Cancelled, InvalidRequest, TooLarge, UnsupportedMedia
from serve.settings import LimitsSettings

ENVELOPE_BYTES = 64 * 1024
"""What a form's boundaries and fields, or a protocol's JSON header, may add to the file or tensor itself."""

WHOLE_BODY = "atelier.body"
"""The key of a body in the ASGI scope that was read before, under the same cap, and is decompressed."""

PIECE_BYTES = 256 * 1024
MOST_FILES = 4
"""In one form, where its route does not say otherwise."""

MAX_GROUPS = 1_000_000
"""Lists and objects of one body: an image nested by rows and pixels has fewer, and more would take seconds to read."""

# A refused body is read on for this many times the cap before the answer: a client that is still sending then
# sees the 413, where a connection closed at once would show it a reset.
DRAINED = 4


class BodyTimeout(InvalidRequest):
    """A body that does not arrive in time is the client's fault, unlike an answer that does not."""

    status = 408
    title = "Request timeout"
    kind = "slow-body"


async def read_body(request: Request, limits: LimitsSettings) -> bytes:
    """The whole body, inflated when ``Content-Encoding`` says so; ``TooLarge`` beyond the cap."""
    whole: bytes | None = request.scope.get(WHOLE_BODY)
    if whole is not None:
        return whole
    body = bytearray()
    await read_capped(request, limits, body.extend)
    return plain(bytes(body), request.headers, limits)


def plain(body: bytes, headers: Headers, limits: LimitsSettings) -> bytes:
    """``body``, inflated when ``Content-Encoding`` says so; ``TooLarge`` beyond the cap."""
    encoding = headers.get("content-encoding", "identity").lower()
    return body if encoding in ("identity", "") else inflate(body, encoding, _cap(limits))


async def read_json(request: Request, limits: LimitsSettings) -> dict[str, Any]:
    """The object that the body is. NaN and Infinity are read, so that the error of a field can name it."""
    return parse_json(await read_body(request, limits), named_constants=True)


def parse_json(text: bytes, *, named_constants: bool = False) -> dict[str, Any]:
    """The JSON object in ``text``. Raises InvalidRequest for a repeated name and for NaN and Infinity."""
    if text.count(b"[") + text.count(b"{") > MAX_GROUPS:
        raise TooLarge(f"the body has more than {MAX_GROUPS} lists and objects; send tensors as binary data")
    try:
        document = (_NAMED_CONSTANTS if named_constants else _JSON).decode(
            text.decode(json.detect_encoding(text), "surrogatepass")
        )
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise InvalidRequest("an object of the body names a member twice")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_once)
_NAMED_CONSTANTS = json.JSONDecoder(parse_constant=float, object_pairs_hook=_once)


async def read_parts(
    request: Request, limits: LimitsSettings, most_files: int, longest_field: int = ENVELOPE_BYTES
) -> list[tuple[str, str | bytes]]:
    """The parts of a multipart form in their order, names as often as they come: text fields, and what files hold.

    ``longest_field`` is in bytes; files together have the cap of every body.
    """
    form = await _parse_form(await read_body(request, limits), request.headers, limits, most_files, longest_field)
    try:
        return [
            (name, await value.read() if isinstance(value, UploadFile) else value) for name, value in form.multi_items()
        ]
    finally:
        await form.close()


async def _parse_form(
    body: bytes, headers: Headers, limits: LimitsSettings, most_files: int, longest_field: int
) -> FormData:
    parser = MultiPartParser(
        headers, _pieces(body), max_files=most_files, max_fields=limits.max_form_fields, max_part_size=longest_field
    )
    parser.spool_max_size = _cap(limits)  # in memory: the cap already bounds it
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"the form cannot be read: {error.message}") from None
    except (LookupError, ValueError):
        # What Starlette 1.x lets through: a part without a name, text that its charset does not fit (UnicodeError,
        # a ValueError), a charset whose very name Python refuses.
        raise InvalidRequest("the form cannot be read: its charset or a part's headers are not valid") from None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and (value.size or 0) > limits.max_body_bytes:
            await form.close()
            raise TooLarge(f"has more than {limits.max_body_bytes} bytes", name)
    return form


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    """``body`` with turns of the event loop in between: a large form takes a while to parse."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]
        await asyncio.sleep(0)


def _cap(limits: LimitsSettings) -> int:
    return limits.max_body_bytes + ENVELOPE_BYTES


async def read_capped(request: Request, limits: LimitsSettings, take: Callable[[bytes], None]) -> None:
    """Calls ``take`` with each piece of the body as it arrives.

    Raises TooLarge beyond the cap, at the body's end; BodyTimeout after ``body_timeout_s``; Cancelled.
    """
    cap, timeout_s = _cap(limits), limits.body_timeout_s
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > cap and "expect" in request.headers:
        raise TooLarge(f"the body has more than {cap} bytes")  # the client waits for leave before it sends
    received = 0
    try:
        async with asyncio.timeout(timeout_s):
            while received <= DRAINED * cap:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Cancelled("the client went away")
                piece: bytes = message.get("body", b"")
                received += len(piece)
                if piece and received <= cap:
                    take(piece)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {timeout_s:g} s") from None
    if received > cap:
        raise TooLarge(f"the body has more than {cap} bytes")


class CappedRequest(Request):
    """A request whose body FastAPI reads under the site's caps: JSON without repeated members, forms without repeated
    fields."""

    @property
    def _limits(self) -> LimitsSettings:
        limits: LimitsSettings = self.app.state.settings.limits
        return limits

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await read_body(self, self._limits)
        return self._body

    async def json(self) -> dict[str, Any]:
        """NaN and Infinity are read, so that the error of a field that has them names the field."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body(), named_constants=True)
        document: dict[str, Any] = self._json
        return document

    async def form(self, **_limits: Any) -> FormData:  # type: ignore[override]  # FastAPI only awaits it
        form = await _parse_form(await self.body(), self.headers, self._limits, MOST_FILES, ENVELOPE_BYTES)
        names: set[str] = set()
        for name, _ in form.multi_items():
            if name in names:
                await form.close()
                raise InvalidRequest("was sent twice", name)
            names.add(name)
        return form


class CappedRoute(APIRoute):
    """The route class of the routers whose requests have models: bodies are read by `CappedRequest`."""

    request_class: type[CappedRequest] = CappedRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_capped(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return handle_capped


def inflate(body: bytes, encoding: str, cap: int) -> bytes:
    """``body`` decompressed (gzip or deflate), at most ``cap`` bytes of it."""
    if encoding not in ("gzip", "deflate"):
        raise UnsupportedMedia("must be gzip, deflate or identity", "Content-Encoding")
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib header, whichever is there
    try:
        plain = decompressor.decompress(body, cap + 1)
    except zlib.error:
        raise InvalidRequest(f"the body is not valid {encoding} data") from None
    if len(plain) > cap:
        raise TooLarge(f"the body has more than {cap} bytes once decompressed")
    if not decompressor.eof:
        raise InvalidRequest(f"the {encoding} data is cut short")
    return plain
