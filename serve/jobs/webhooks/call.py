"""One call of a webhook: what is said, its signature, and what the receiver answers.

Signed as Standard Webhooks has it (https://www.standardwebhooks.com), so that its libraries verify it.
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
from serve.jobs.webhooks.address import check_webhook, webhook_destinations
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.settings import Settings, webhook_key

LOGGER = logging.getLogger(__name__)
MAX_WAIT_S = 3600.0
"""The longest that a receiver can ask for (Retry-After)."""
GONE = 410
_MOST_READ = 4096
"""Bytes of an answer. Nobody looks at them; but who still writes should not find the line cut."""


@dataclass(frozen=True)
class WebhookResponse:
    """``status`` is None when there was none; then ``told`` says why. ``wait_s``: what the receiver asked for."""

    status: int | None
    told: str
    wait_s: float = 0.0
    refused: bool = False
    """By ourselves, and so it would be the next time."""

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_last(self) -> bool:
        """Whether another attempt makes no sense."""
        return self.accepted or self.refused or self.status == GONE


def message(delivery: sa.Row[Any], base_url: str) -> bytes:
    """The body of a row of `deliveries`: the same bytes in every attempt."""
    job = f"{base_url}/v1/jobs/{delivery.generation_id}"
    told = dict(delivery.body)
    if preview := told.pop("preview", None):  # the name of an object: each has an address of its own
        told["preview_url"] = f"{job}/preview?v={preview[:12]}"
    data = {**told, "result_url": f"{job}/result"}
    document = {"type": f"job.{delivery.kind}", "timestamp": delivery.created_at.isoformat(), "data": data}
    return json.dumps(document, separators=(",", ":")).encode()


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``; ``timestamp`` in seconds."""
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


class WebhookClient:
    """An asynchronous context; needs `webhooks.secret`. It follows no redirects and knows no proxies, no cookies."""

    def __init__(
        self, settings: Settings, addresses: PinnedResolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Without ``tls``, certificates are those that the machine trusts."""
        assert settings.webhooks.secret is not None
        self._settings = settings
        self._key = webhook_key(settings.webhooks.secret)
        self._addresses = addresses
        self._tls = tls
        self._agent = f"atelier/{version('atelier')}"

    async def __aenter__(self) -> Self:
        self._names = self._addresses or PinnedResolver(webhook_destinations(self._settings).may_call)
        connector = aiohttp.TCPConnector(
            resolver=self._names, ssl=self._tls or True, use_dns_cache=False, force_close=True, limit=0
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._settings.webhooks.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_MOST_READ,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._names.close()

    async def call(self, message_id: str, url: str, body: bytes) -> WebhookResponse:
        """Whatever happens is an answer."""
        try:
            check_webhook(url, self._settings)
            return await self._post(message_id, url, body)
        except InvalidRequest as error:
            return WebhookResponse(None, str(error), refused=True)
        except TimeoutError:
            return WebhookResponse(None, f"no answer within {self._settings.webhooks.timeout_s:g} s")
        except OSError as error:  # of the line: it names the host alone
            return WebhookResponse(None, f"{type(error).__name__}: {error}"[:500])
        except (aiohttp.ClientError, ValueError) as error:  # may name the whole address, which may be a secret
            return WebhookResponse(None, type(error).__name__)
        except Exception as error:  # one delivery that upsets the library must not end all the others
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
            answer = WebhookResponse(response.status, f"answered {response.status}", _asked_s(response.headers))
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await response.content.read(_MOST_READ)
            return answer


def _asked_s(headers: Any) -> float:
    """The wait that ``Retry-After`` asks for, in seconds or as a date; 0 when it says nothing that can be read."""
    text = headers.get("Retry-After", "").strip()
    try:
        wait_s = (
            float(text) if text.isascii() and text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(wait_s, 0.0), MAX_WAIT_S)
