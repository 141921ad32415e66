"""Whom webhooks may call: https on the open Internet, unless `webhooks.allow_private` says otherwise.

A URL is examined as a job comes in and again before each call.
"""

from __future__ import annotations

from serve.errors import InvalidRequest
from serve.settings import Settings
from serve.settings.egress_policy import Destinations, checked

FIELD = "webhook_url"


def webhook_destinations(settings: Settings) -> Destinations:
    private = settings.webhooks.allow_private
    return Destinations(plain_http=private, anywhere=private)


def check_webhook(url: str, settings: Settings) -> None:
    """Raises InvalidRequest for one that may not be called, whatever its name stands for."""
    if settings.webhooks.secret is None:
        raise InvalidRequest("this site sends no webhooks: it has no webhooks.secret to sign them with", FIELD)
    checked(url, webhook_destinations(settings), FIELD)
