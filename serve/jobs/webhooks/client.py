"""`WebhookClient`: sends one webhook request, signed as Standard Webhooks defines (https://www.standardwebhooks.com).

URLs must be https on the public Internet unless `webhooks.allow_private` is set; they are checked when the job is
submitted and again before each request.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import aiohttp
import sqlalchemy as sa

from serve.errors import InvalidRequest
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.settings import Settings, webhook_key
from serve.settings.egress_policy import Destinations, checked

FIELD = "webhook_url"


def webhook_egress_policy(settings: Settings) -> Destinations:
    private = settings.webhooks.allow_private
    return Destinations(plain_http=private, anywhere=private)


def check_webhook_url(url: str, settings: Settings) -> None:
    """Raises InvalidRequest for a URL that webhooks may not be sent to, whatever its name resolves to."""
    if settings.webhooks.secret is None:
        raise InvalidRequest("this site sends no webhooks: it has no webhooks.secret to sign them with", FIELD)
    checked(url, webhook_egress_policy(settings), FIELD)


LOGGER = logging.getLogger(__name__)
MAX_RETRY_AFTER_S = 3600.0
"""The longest delay that a receiver can ask for (Retry-After)."""
HTTP_GONE = 410
_MAX_RESPONSE_BYTES = 4096
"""Response bytes that are read. They are discarded, but a receiver that still writes should not see a reset."""


@dataclass(frozen=True)
class WebhookResponse:
    """``status`` is None when there was no response; ``reason`` says why. ``retry_after_s``: what the receiver asked
    for."""

    status: int | None
    reason: str
    retry_after_s: float = 0.0
    is_rejected: bool = False
    """Rejected by this site's own checks, as every later attempt would be."""

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_last(self) -> bool:
        """Whether another attempt is pointless."""
        return self.accepted or self.is_rejected or self.status == HTTP_GONE


def message(delivery: sa.Row[Any], base_url: str) -> bytes:
    """The body for a row of `deliveries`: the same bytes in every attempt."""
    job = f"{base_url}/v1/jobs/{delivery.generation_id}"
    data = dict(delivery.body)
    if preview := data.pop("preview", None):  # an object name: each preview has its own URL
        data["preview_url"] = f"{job}/preview?v={preview[:12]}"
    data = {**data, "result_url": f"{job}/result"}
    document = {"type": f"job.{delivery.kind}", "timestamp": delivery.created_at.isoformat(), "data": data}
    return json.dumps(document, separators=(",", ":")).encode()


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``; ``timestamp`` in seconds."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest.digest()).decode()}"


class WebhookClient:
    """An asynchronous context; needs `webhooks.secret`. It follows no redirects, and uses no proxies and no cookies."""

    def __init__(
        self, settings: Settings, resolver: PinnedResolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Without ``tls``, the machine's trusted certificates are used."""
        assert settings.webhooks.secret is not None
        self._settings = settings
        self._key = webhook_key(settings.webhooks.secret)
        self._given_resolver = resolver
        self._tls = tls
        self._agent = f"atelier/{version('atelier')}"

    async def __aenter__(self) -> Self:
        self._resolver = self._given_resolver or PinnedResolver(webhook_egress_policy(self._settings).may_call)
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, ssl=self._tls or True, use_dns_cache=False, force_close=True, limit=0
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._settings.webhooks.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_MAX_RESPONSE_BYTES,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def call(self, message_id: str, url: str, body: bytes) -> WebhookResponse:
        """Sends one attempt; every failure is returned as a response."""
        try:
            check_webhook_url(url, self._settings)
            return await self._post(message_id, url, body)
        except InvalidRequest as error:
            return WebhookResponse(None, str(error), is_rejected=True)
        except TimeoutError:
            return WebhookResponse(None, f"no answer within {self._settings.webhooks.timeout_s:g} s")
        except OSError as error:  # of the connection: names the host only
            return WebhookResponse(None, f"{type(error).__name__}: {error}"[:500])
        except (aiohttp.ClientError, ValueError) as error:  # may quote the whole URL, which may be a secret
            return WebhookResponse(None, type(error).__name__)
        except Exception as error:  # one delivery must not end all the others
            LOGGER.exception("a webhook could not be sent")
            return WebhookResponse(None, type(error).__name__)

    async def _post(self, message_id: str, url: str, body: bytes) -> WebhookResponse:
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._key, message_id, now, body),
        }
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            result = WebhookResponse(response.status, f"answered {response.status}", _retry_after_s(response.headers))
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await response.content.read(_MAX_RESPONSE_BYTES)
            return result


def _retry_after_s(headers: Any) -> float:
    """The delay of ``Retry-After``, in seconds or as a date; 0 when absent or unreadable."""
    text = headers.get("Retry-After", "").strip()
    try:
        retry_after_s = (
            float(text) if text.isascii() and text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S)
