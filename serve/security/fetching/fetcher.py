"""`Fetcher`: downloads pictures from user-named URLs without exposing internal networks (F 12).

A host that does not answer, refuses, is slow, responds wrongly or redirects to a disallowed address gives the same
error, so the requester learns nothing about it. The size is limited while reading.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import ssl
from importlib.metadata import version

import aiohttp
from yarl import URL

from serve.errors import InvalidRequest, TooLarge, UnsupportedMedia
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import FetchSettings
from serve.settings.egress_policy import MAX_URL, checked, destinations

LOGGER = logging.getLogger(__name__)
_CHUNK_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 4096
_MAX_HEADERS = 64
_REDIRECTS = (301, 302, 303, 307, 308)
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0")
_MAX_SIGNATURE_BYTES = 12
_NOT_A_PICTURE = "is not a picture: PNG, JPEG, WebP, AVIF, GIF, BMP, ICO and TIFF are"
_MAX_QUEUED = 16


class Fetcher:
    """For one event loop. It sends no cookies, credentials or referrer, and uses no proxies."""

    def __init__(
        self, settings: FetchSettings, resolver: PinnedResolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Without ``tls``, the machine's trusted certificates are used."""
        self._settings = settings
        ports = frozenset(settings.ports) or None
        self._allowed = destinations(settings.allow, settings.allow_http, ports)
        self._resolver = resolver or PinnedResolver(self._allowed.may_call)
        self._tls = tls
        self._admission = AdmissionQueue(settings.at_once, _MAX_QUEUED)
        self._headers = {
            "Accept": "image/png, image/jpeg, image/webp, image/avif, image/gif, image/bmp, image/tiff",
            "Accept-Encoding": "identity",
            "User-Agent": f"atelier/{version('atelier')}",
        }

    async def fetch_picture(self, url: str, field: str) -> bytes:
        """The content of ``url``, https: or data:, a picture by its first bytes; it is not decoded.

        Raises InvalidRequest, TooLarge and UnsupportedMedia naming ``field``; Overloaded.
        """
        if is_data_url(url):
            return await asyncio.to_thread(self._from_data_url, url, field)
        url_checked = checked(url, self._allowed, field)
        async with self._admission.slot():
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    found = await self._follow_redirects(url_checked)
            except (aiohttp.ClientError, OSError, ValueError, InvalidRequest) as error:
                LOGGER.info("a picture was not fetched: %s", type(error).__name__)  # the URL may be a secret
                raise _error_for(error, field) from None
        return found

    async def close(self) -> None:
        await self._resolver.close()

    def _from_data_url(self, url: str, field: str) -> bytes:
        data = decode_data_url(url, self._settings.max_bytes, field)
        if not _may_be_picture(data):
            raise UnsupportedMedia(_NOT_A_PICTURE, field)
        return data

    async def _follow_redirects(self, url: URL) -> bytes:
        async with self._session() as session:
            for _ in range(self._settings.max_redirects + 1):
                async with session.get(url, headers=self._headers, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await self._read_body(response)
                    url = self._redirect_target(url, response.headers.get("Location", ""))
        raise ValueError("too many redirections")

    def _redirect_target(self, current: URL, location: str) -> URL:
        """Raises ValueError, InvalidRequest."""
        if not location or len(location) > MAX_URL:
            raise ValueError("a redirection to nowhere")
        return checked(str(current.join(URL(location)).with_fragment(None)), self._allowed, "")

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Raises ValueError for errors that must not be distinguishable, TooLarge and UnsupportedMedia."""
        if response.status != 200:
            raise ValueError("not a picture's answer")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise ValueError("compressed, though asked not to")
        if not response.headers.get("Content-Type", "image/").strip().lower().startswith(_TYPES):
            raise UnsupportedMedia(_NOT_A_PICTURE)
        max_bytes = self._settings.max_bytes
        if (response.content_length or 0) > max_bytes:
            raise _too_large(max_bytes)
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            if len(body) >= _MAX_SIGNATURE_BYTES and not _may_be_picture(body):
                raise UnsupportedMedia(_NOT_A_PICTURE)
        if not _may_be_picture(body):
            raise UnsupportedMedia(_NOT_A_PICTURE)
        return bytes(body)

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, ssl=self._tls or True, use_dns_cache=False, force_close=True, limit=1
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_read=self._settings.idle_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_CHUNK_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            trust_env=False,
        )


def _may_be_picture(data: bytes | bytearray) -> bool:
    webp, avif = data[:4] == b"RIFF" and data[8:12] == b"WEBP", data[4:12] in (b"ftypavif", b"ftypavis")
    return data.startswith(_SIGNATURES) or webp or avif


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"has more than the {max_bytes} bytes allowed")


def _error_for(error: Exception, field: str) -> InvalidRequest:
    if isinstance(error, TooLarge | UnsupportedMedia):
        return type(error)(error.message, field)
    return InvalidRequest(
        "could not be fetched: it must lead to a picture on the open Internet, by few redirections and in time", field
    )


MAX_DATA_URL = 20 * 1024 * 1024
"""Characters."""
_HEAD = re.compile(r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_MAX_HEAD_LENGTH = 256


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode_data_url(url: str, max_bytes: int, field: str) -> bytes:
    """At most ``max_bytes`` bytes; the content is not checked. Raises InvalidRequest and TooLarge naming ``field``."""
    head = _HEAD.match(url[:_MAX_HEAD_LENGTH])
    if head is None:
        raise InvalidRequest("must be a data: URL in base64, such as data:image/png;base64,iVBOR...", field)
    if len(url) > MAX_DATA_URL or len(url) - head.end() > (max_bytes + 2) // 3 * 4:
        raise TooLarge(f"has more than the {max_bytes} bytes allowed", field)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not valid base64", field) from None
