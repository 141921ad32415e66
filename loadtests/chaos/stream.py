"""A picture by server-sent events, as OpenAI's clients ask for it: what ends without its picture is asked again."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from loadtests.chaos.client import Seen, of_http
from loadtests.chaos.known import DRAWING, Known, as_pixels
from loadtests.chaos.ledger import Saw
from loadtests.load.callers import ANEW

PREVIEWS = 2
COMPLETED = "image_generation.completed"
_DATA, _DONE = "data: ", "[DONE]"


async def stream(http: httpx.AsyncClient, known: Known, number: int) -> Seen:
    """What breaks off in the midst raises ``httpx.HTTPError``, as other answers do."""
    seed = number % 4
    asked = {**DRAWING, "seed": seed, "stream": True, "partial_images": PREVIEWS}
    pictures: list[bytes] = []
    async with http.stream("POST", "/v1/images/generations", json=asked, headers=ANEW) as answer:
        if not answer.is_success:
            await answer.aread()
        if (amiss := of_http(answer)) is not None:
            return amiss
        async for line in answer.aiter_lines():
            data = line.removeprefix(_DATA) if line.startswith(_DATA) else ""
            if data == _DONE:
                return _judged(known, seed, pictures)
            event = json.loads(data or "{}")
            if "error" in event:
                return of_event(event["error"])
            if event.get("type") == COMPLETED:
                pictures.append(base64.b64decode(event["b64_json"]))
    return Seen(Saw.BROKEN, "the stream ended before its picture")


def of_event(error: dict[str, Any]) -> Seen:
    """Of the last event of a stream that fails. The status is sent by then; what a refusal's headers say, it says."""
    told = f"an event, {error['code']}: {error['message'][:100]!r}"
    if (after := error.get("retry_after")) is not None:
        return Seen(Saw.CLEAR, told, float(after))
    return Seen(Saw.UNCLEAR if error["type"] == "server_error" else Saw.REFUSED, told)


def _judged(known: Known, seed: int, pictures: list[bytes]) -> Seen:
    if len(pictures) != 1:
        return Seen(Saw.WRONG, f"a stream with {len(pictures)} pictures")
    return known.judge_picture(seed, as_pixels(pictures[0]))
