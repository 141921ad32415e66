"""A picture by server-sent events, as OpenAI's clients ask for it: what ends without its picture is asked again."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from loadtests.chaos.attempts_log import AttemptResult
from loadtests.chaos.client import AttemptOutcome, of_http
from loadtests.chaos.expected_answers import DRAWING, ExpectedAnswers, as_pixels
from loadtests.load.callers import ANEW

PREVIEWS = 2
COMPLETED = "image_generation.completed"
_DATA, _DONE = "data: ", "[DONE]"


async def stream(http: httpx.AsyncClient, known: ExpectedAnswers, number: int) -> AttemptOutcome:
    """What breaks off in the midst raises ``httpx.HTTPError``, as other answers do."""
    seed = number % 4
    asked = {**DRAWING, "seed": seed, "stream": True, "partial_images": PREVIEWS}
    pictures: list[bytes] = []
    async with http.stream("POST", "/v1/images/generations", json=asked, headers=ANEW) as answer:
        if not answer.is_success:
            await answer.aread()
        if (mismatch := of_http(answer)) is not None:
            return mismatch
        async for line in answer.aiter_lines():
            data = line.removeprefix(_DATA) if line.startswith(_DATA) else ""
            if data == _DONE:
                return _judged(known, seed, pictures)
            event = json.loads(data or "{}")
            if "error" in event:
                return of_event(event["error"])
            if event.get("type") == COMPLETED:
                pictures.append(base64.b64decode(event["b64_json"]))
    return AttemptOutcome(AttemptResult.BROKEN, "the stream ended before its picture")


def of_event(error: dict[str, Any]) -> AttemptOutcome:
    """Of the last event of a stream that fails. The status is sent by then; what a refusal's headers say, it says."""
    details = f"an event, {error['code']}: {error['message'][:100]!r}"
    if (after := error.get("retry_after")) is not None:
        return AttemptOutcome(AttemptResult.CLEAR, details, float(after))
    return AttemptOutcome(AttemptResult.UNCLEAR if error["type"] == "server_error" else AttemptResult.REFUSED, details)


def _judged(known: ExpectedAnswers, seed: int, pictures: list[bytes]) -> AttemptOutcome:
    if len(pictures) != 1:
        return AttemptOutcome(AttemptResult.WRONG, f"a stream with {len(pictures)} pictures")
    return known.judge_picture(seed, as_pixels(pictures[0]))
