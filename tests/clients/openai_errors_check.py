"""Runs in the environment of tests/clients/requirements.txt: how OpenAI's own package maps and retries errors,
against a
studio whose prompts select the error (`tests/programs/erring.py`).

Usage: python openai_errors_check.py HTTP (address as host:port). Prints one line of JSON; fails loudly.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai

KINDS = {
    "InvalidRequest": (openai.BadRequestError, "invalid_request"),
    "Unauthorized": (openai.AuthenticationError, "invalid_api_key"),
    "Forbidden": (openai.PermissionDeniedError, "insufficient_permissions"),
    "NotFound": (openai.NotFoundError, "model_not_found"),
    "Conflict": (openai.ConflictError, "conflict"),
    "KeyReused": (openai.UnprocessableEntityError, "key_reused"),
    "TooManyRequests": (openai.RateLimitError, "rate_limit_exceeded"),
    "TooManyRequestsToday": (openai.RateLimitError, "rate_limit_exceeded"),
    "TooManyAttempts": (openai.RateLimitError, "rate_limit_exceeded"),
    "EngineFailure": (openai.InternalServerError, "engine_failure"),
    "EngineLost": (openai.InternalServerError, "engine_lost"),
    "Overloaded": (openai.InternalServerError, "overloaded"),
    "DeadlineExceeded": (openai.InternalServerError, "deadline_exceeded"),
    "QuotaExceeded": (openai.InternalServerError, "insufficient_quota"),
}


def main(http: str) -> None:
    options: dict[str, Any] = {"base_url": f"http://{http}/v1", "api_key": "none", "timeout": 60}
    client = openai.OpenAI(**options)
    results = {name: raises_its_kind(client, name) for name in KINDS}
    results |= asyncio.run(asynchronously(openai.AsyncOpenAI(**options))) | recovered(client) | streamed(client)
    print(json.dumps(results | timed_out(client)))


def raises_its_kind(client: openai.OpenAI, name: str) -> bool:
    kind, code = KINDS[name]
    return is_right(raised(lambda: client.images.generate(prompt=name)), kind, code)


def is_right(error: Any, kind: type[openai.APIStatusError], code: str) -> bool:
    known = type(error) is kind and error.code == code and bool(error.request_id and error.type and error.message)
    return known and (kind is not openai.AuthenticationError or error.response.headers["www-authenticate"] == "Bearer")


def raised(call: Any) -> Any:
    try:
        call()
    except openai.APIError as error:
        return error
    return None


async def asynchronously(client: openai.AsyncOpenAI) -> dict[str, bool]:
    async def raises_async(name: str) -> bool:
        try:
            await client.images.generate(prompt=name)
        except openai.APIError as error:
            return is_right(error, *KINDS[name])
        return False

    names = ("Unauthorized", "TooManyRequestsToday", "EngineFailure")
    return dict(zip([f"async {name}" for name in names], await asyncio.gather(*map(raises_async, names)), strict=True))


def recovered(client: openai.OpenAI) -> dict[str, bool]:
    """A passing error is retried and not seen by the caller."""
    answer = client.images.with_raw_response.generate(prompt="once Overloaded")
    return {"recovered": answer.retries_taken == 1 and bool(answer.parse().data)}


def streamed(client: openai.OpenAI) -> dict[str, bool]:
    """An error after the first event of a stream."""
    kinds = []
    try:
        for event in client.images.generate(prompt="late EngineFailure", stream=True, partial_images=3):
            kinds.append(event.type)
    except openai.APIError as error:
        return {"streamed": error.code == "engine_failure" and kinds[0] == "image_generation.partial_image"}
    return {"streamed": False}


def timed_out(client: openai.OpenAI) -> dict[str, bool]:
    """A client that times out and retries."""
    hurried = client.with_options(timeout=1.0, max_retries=10)
    return {"left": bool(hurried.images.generate(prompt="slow apple").data)}


if __name__ == "__main__":
    main(sys.argv[1])
