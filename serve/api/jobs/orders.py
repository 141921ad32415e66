"""What is asked of the queue: whose job it is, how urgent, under which key, and whom to tell (API_COMPAT 5)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers

from serve.api.http.callers import idempotency_key
from serve.api.http.ownership import MAX_USER
from serve.api.http.values import choice, number, text, whole
from serve.api.middleware.authentication import principal_of
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest
from serve.jobs.queue.generation_queue import MAX_PRIORITY, PRIORITIES
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.webhooks.client import check_webhook_url
from serve.observability import request_context
from serve.settings import Settings
from serve.settings.egress_policy import MAX_URL
from serve.state.job_states import KINDS

NAMES = ("user_id", "priority", "webhook_url", "webhook_events", "timeout_s")
FAL_PRIORITY = "X-Fal-Queue-Priority"
MAX_WAIT_S = 60.0
TIMEOUT_S = (0.1, 7 * 86_400.0)
"""Of a job, from when it is added: the shortest and the longest."""
WEBHOOK_EVENTS = KINDS[1:]
"""Who adds a job knows that it is queued."""

_ANSWER_S = 0.25
"""What is left of a request's time for its answer, when it waits for the end of a job."""
_WAIT = re.compile(r"wait(?:\s*=\s*\"?(\d{1,6})\"?)?", re.ASCII | re.IGNORECASE)


def order_of(values: Mapping[str, Any], request: Request, settings: Settings) -> JobOptions:
    """Raises InvalidRequest naming a field of ``NAMES``, or a header, and Forbidden for another user's name."""
    headers = request.headers
    url = text(values, "webhook_url", MAX_URL)
    if url is not None:
        check_webhook_url(url, settings)
    events = _webhook_events(values)
    if events and url is None:
        raise InvalidRequest("is for a webhook_url; send it too", "webhook_events")
    order = JobOptions(
        user_id=principal_of(request).acting_user_id(text(values, "user_id", MAX_USER)),
        priority=priority_of(values, PRIORITIES[_said_by(headers)]),
        webhook_url=url,
        idempotency_key=idempotency_key(headers),
        timeout_s=_timeout_s(values),
    )
    return order if events is None else replace(order, webhook_events=events)


def priority_of(values: Mapping[str, Any], default: int) -> int:
    given = values.get("priority")
    if isinstance(given, str) and given in PRIORITIES:
        return PRIORITIES[given]
    told = f"{', '.join(PRIORITIES)}, or a whole number from {-MAX_PRIORITY} to {MAX_PRIORITY}"
    try:
        found = whole(values, "priority", default)
    except InvalidRequest:
        raise InvalidRequest(f"must be {told}", "priority") from None
    if found is None or abs(found) > MAX_PRIORITY:
        raise InvalidRequest(f"must be {told}", "priority")
    return found


def wait_s(headers: Headers) -> float:
    """Of ``Prefer: wait=SECONDS`` (RFC 7240), as far as it is honoured; 0 without one. A preference is no error,
    and the answer comes before the request's own deadline."""
    for given in headers.getlist("prefer"):
        for preference in given.split(",")[:16]:
            found = _WAIT.fullmatch(preference.partition(";")[0].strip())
            if found is not None:
                wanted_s = min(MAX_WAIT_S, float(found[1])) if found[1] else MAX_WAIT_S
                return max(0.0, min(wanted_s, request_context.current().left_s(math.inf) - _ANSWER_S))
    return 0.0


def _timeout_s(values: Mapping[str, Any]) -> float | None:
    found = number(values, "timeout_s", told=TIMEOUT_S)
    check_number(found, "timeout_s", *TIMEOUT_S)
    return found


def _said_by(headers: Headers) -> str:
    """The priority by fal's header, else that of the request itself."""
    given = {FAL_PRIORITY: headers.get(FAL_PRIORITY, "").strip().lower()}
    return choice(given, FAL_PRIORITY, PRIORITIES, request_context.current().priority.name.lower())


def _webhook_events(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """A list, or a form's text with commas."""
    given = values.get("webhook_events")
    if given is None or given == "":
        return None
    if isinstance(given, str):
        given = [one.strip() for one in given.split(",")]
    known = ", ".join(WEBHOOK_EVENTS)
    if not isinstance(given, list) or not 1 <= len(given) <= len(WEBHOOK_EVENTS):
        raise InvalidRequest(f"must be a list of one or more of {known}", "webhook_events")
    if not all(isinstance(one, str) and one in WEBHOOK_EVENTS for one in given):
        raise InvalidRequest(f"has what is no event; there are {known}", "webhook_events")
    return tuple(dict.fromkeys(given))
