"""Pictures from addresses that users name, fetched so that nobody else's network is reached or looked into (F 12).

A host that does not answer, refuses, answers slowly, wrongly or by a redirection to where this site does not go is one
and the same error: whoever names an address learns nothing of what is behind it. What is read is capped as it arrives.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from importlib.metadata import version

import aiohttp
from yarl import URL

from serve.errors import InvalidRequest, TooLarge, UnsupportedMedia
from serve.security.fetching import data_urls
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import FetchSettings
from serve.settings.egress_policy import MAX_URL, checked, destinations

LOGGER = logging.getLogger(__name__)
_PIECE = 64 * 1024
_LONGEST_HEADER = 4096
_MOST_HEADERS = 64
_REDIRECTS = (301, 302, 303, 307, 308)
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_LONGEST_SIGNATURE = 12
_NOT_ONE = "is not a picture: PNG, JPEG, WebP, GIF, BMP and TIFF are"
_WAITING = 16


class Fetcher:
    """For one event loop. It sends no cookies, no credentials, no referrer, and knows no proxies."""

    def __init__(
        self, settings: FetchSettings, names: PinnedResolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Without ``tls``, certificates are those that the machine trusts."""
        self._settings = settings
        ports = frozenset(settings.ports) or None
        self._allowed = destinations(settings.allow, settings.allow_http, ports)
        self._names = names or PinnedResolver(self._allowed.may_call)
        self._tls = tls
        self._turns = AdmissionQueue(settings.at_once, _WAITING)
        self._headers = {
            "Accept": "image/png, image/jpeg, image/webp, image/gif, image/bmp, image/tiff",
            "Accept-Encoding": "identity",
            "User-Agent": f"atelier/{version('atelier')}",
        }

    async def fetch_picture(self, url: str, field: str) -> bytes:
        """What ``url``, https: or data:, holds: a picture by its first bytes, which nobody has decoded yet.

        Raises InvalidRequest, TooLarge and UnsupportedMedia naming ``field``; Overloaded.
        """
        if data_urls.is_one(url):
            return await asyncio.to_thread(self._held, url, field)
        first = checked(url, self._allowed, field)
        async with self._turns.slot():
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    found = await self._followed(first)
            except (aiohttp.ClientError, OSError, ValueError, InvalidRequest) as error:
                LOGGER.info("a picture was not fetched: %s", type(error).__name__)  # the address may be a secret
                raise _named(error, field) from None
        return found

    async def close(self) -> None:
        await self._names.close()

    def _held(self, url: str, field: str) -> bytes:
        data = data_urls.decoded(url, self._settings.max_bytes, field)
        if not _may_be_picture(data):
            raise UnsupportedMedia(_NOT_ONE, field)
        return data

    async def _followed(self, url: URL) -> bytes:
        async with self._session() as session:
            for _ in range(self._settings.max_redirects + 1):
                async with session.get(url, headers=self._headers, allow_redirects=False) as answer:
                    if answer.status not in _REDIRECTS:
                        return await self._body(answer)
                    url = self._next(url, answer.headers.get("Location", ""))
        raise ValueError("too many redirections")

    def _next(self, here: URL, location: str) -> URL:
        """Raises ValueError, InvalidRequest."""
        if not location or len(location) > MAX_URL:
            raise ValueError("a redirection to nowhere")
        return checked(str(here.join(URL(location)).with_fragment(None)), self._allowed, "")

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        """Raises ValueError for what tells nothing, TooLarge and UnsupportedMedia."""
        if answer.status != 200:
            raise ValueError("not a picture's answer")
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise ValueError("compressed, though asked not to")
        if not answer.headers.get("Content-Type", "image/").strip().lower().startswith(_TYPES):
            raise UnsupportedMedia(_NOT_ONE)
        most = self._settings.max_bytes
        if (answer.content_length or 0) > most:
            raise _too_large(most)
        body = bytearray()
        async for piece in answer.content.iter_chunked(_PIECE):
            body += piece
            if len(body) > most:
                raise _too_large(most)
            if len(body) >= _LONGEST_SIGNATURE and not _may_be_picture(body):
                raise UnsupportedMedia(_NOT_ONE)
        if not _may_be_picture(body):
            raise UnsupportedMedia(_NOT_ONE)
        return bytes(body)

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._names, ssl=self._tls or True, use_dns_cache=False, force_close=True, limit=1
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_read=self._settings.idle_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_PIECE,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
            trust_env=False,
        )


def _may_be_picture(data: bytes | bytearray) -> bool:
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"has more than the {most} bytes allowed")


def _named(error: Exception, field: str) -> InvalidRequest:
    if isinstance(error, TooLarge | UnsupportedMedia):
        return type(error)(error.message, field)
    return InvalidRequest(
        "could not be fetched: it must lead to a picture on the open Internet, by few redirections and in time", field
    )
