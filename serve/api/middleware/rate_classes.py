"""The rate class of a request, which decides its cost: from its method and path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from serve.api.middleware.scopes import READS
from serve.security.limits.limiter import Work

_WORK: Sequence[tuple[re.Pattern[str], Work]] = (
    (
        re.compile(r"/v1/jobs|/v1/jobs/[^/]+/retry|/v1/images/\w+|/(api/)?generate|/api/\w+/generate|/api/llm/act"),
        "draw",
    ),
    (re.compile(r"/api/pictures/finish|/sdapi/v1/extra-(single-image|batch-images)"), "draw"),
    (re.compile(r"/sdapi/v1/(txt2img|img2img)|/v2/models/[^/]+(/versions/[^/]+)?/generate(_stream)?"), "draw"),
    (re.compile(r"/v2/models/illustrate(/versions/[^/]+)?/infer"), "draw"),
    (re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer|/api/convert(-ai)?|/api/analyze-image"), "vectorize"),
    (re.compile(r"/api/style-transfer/transfer"), "draw"),
    (re.compile(r"/api/style-transfer/svg"), "vectorize"),
    (re.compile(r"/api/captions(/describe)?"), "vectorize"),
    (re.compile(r"/api/nlp/(analyze|enhance|keywords|sentiment)"), "read"),
)


@lru_cache(1024)
def work_of(method: str, path: str) -> Work:
    """The rate class of a request, before its body is read."""
    if method in READS:
        return "read"
    path = path.rstrip("/")
    return next((work for pattern, work in _WORK if pattern.fullmatch(path)), "write")
