"""Rate limits in the headers of an answer.

``RateLimit-Policy`` and ``RateLimit`` are those of draft-ietf-httpapi-ratelimit-headers-10, which names every limit.
``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` are those of its drafts up to 06, which most clients know; they tell
of the limit that is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence

from serve.security.limits.windows import Standing

NAMES = ("RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def rate_limit_headers(standings: Sequence[Standing]) -> list[tuple[str, str]]:
    """None where there is no limit."""
    if not standings:
        return []
    nearest = min(standings, key=lambda one: (one.allowed, one.remaining, -one.reset_s))
    return [
        ("RateLimit-Policy", ", ".join(f'"{s.rate.name}";q={s.rate.limit};w={s.rate.period_s}' for s in standings)),
        ("RateLimit", ", ".join(f'"{s.rate.name}";r={_left(s)};t={s.reset_s}' for s in standings)),
        ("RateLimit-Limit", str(nearest.rate.limit)),
        ("RateLimit-Remaining", str(_left(nearest))),
        ("RateLimit-Reset", str(nearest.reset_s)),
    ]


def _left(standing: Standing) -> int:
    """Who was refused has nothing left for such a request, whatever a cheaper one would find."""
    return standing.remaining if standing.allowed else 0
