"""What error answers must have, and must not."""

from __future__ import annotations

import re

import httpx

LEAKS = re.compile(r"Traceback|site-packages|/home/|/root/|\.py\b|pid[ =]\d|0x[0-9a-f]{6,}")


def assert_problem(answer: httpx.Response, status: int | None, field: str | None) -> None:
    """RFC 9457, with the field and the reason, without internals."""
    assert 400 <= answer.status_code < 500
    if status is not None:
        assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"]
    assert body["field"] == field
    assert body["success"] is False
    assert body["request_id"] == answer.headers["x-request-id"]
    assert not LEAKS.search(answer.text)
