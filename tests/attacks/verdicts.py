"""Checks that hold for every response, whatever the request."""

from __future__ import annotations

import gc
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whole_door import Answer

OPENAI = ("/v1/images", "/v1/models")
A1111 = ("/sdapi", "/internal", "/controlnet")


@dataclass
class Seen:
    """``answers`` counts responses by endpoint and status; ``faults`` lists violations."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    warm_mib: float = 0.0
    end_mib: float = 0.0


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def fault_of(path: bytes, method: str, answer: Answer) -> str | None:
    """What is wrong with the response, or None."""
    status = answer.status
    if status is None or status < 400:
        return None
    if (
        status >= 500 and status != 501
    ):  # 501: extensions of the open inference protocol and of A1111 that this server does not have
        return f"{status}"
    if method == "HEAD":
        return None
    try:
        body = answer.json()
    except ValueError:
        return f"{status} is no JSON"
    if status == 429 and "retry-after" not in answer.headers:
        return "429 without Retry-After"
    return (
        None
        if has_error_format(path.partition(b"?")[0].decode("latin-1"), body, answer)
        else f"{status} in other words"
    )


def has_error_format(path: str, body: Any, answer: Answer) -> bool:
    if not isinstance(body, dict):
        return False
    if path.startswith("/v2"):
        return list(body) == ["error"] and isinstance(body["error"], str)
    if path.startswith(OPENAI):
        error = body.get("error")
        return isinstance(error, dict) and {"message", "type", "param", "code"} <= set(error)
    if path.startswith(A1111):
        return {"error", "detail", "body", "errors"} == set(body)
    if "error" in body and isinstance(body["error"], dict):
        return path.startswith("/v1")  # unknown paths below /v1 get OpenAI's error format
    return answer.headers["content-type"] == "application/problem+json" and body["status"] == answer.status


def report(seen: Seen, seed: int) -> str:
    lines = [f"seed {seed}", *(f"{count:7d}  {name}" for name, count in sorted(seen.answers.items()))]
    slowest = max(seen.health_s, default=0.0)
    lines.append(f"memory {seen.warm_mib:.0f} MiB warm, {seen.end_mib:.0f} at the end; health {1000 * slowest:.0f} ms")
    return "\n".join([*lines, f"{len(seen.faults)} faults", *seen.faults[:20]])
