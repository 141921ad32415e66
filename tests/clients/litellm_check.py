"""Runs in the environment of tests/clients/litellm_requirements.txt: litellm against a studio whose prompts select
the
error (`tests/programs/erring.py`).

Usage: python litellm_check.py HTTP (address as host:port). Prints one line of JSON; fails loudly.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads prices

import litellm

litellm.suppress_debug_info = True

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAYAAABytg0kAAAAEklEQVR4nGP4z8DwHwyBNBgAAD0ABz8VGs8LAAAAAElFTkSuQmCC"
)
KINDS = {
    "InvalidRequest": litellm.BadRequestError,
    "Unauthorized": litellm.AuthenticationError,
    "Forbidden": litellm.APIError,  # 403 and 507 have no class of their own
    "NotFound": litellm.NotFoundError,
    "Overloaded": litellm.ServiceUnavailableError,
    "DeadlineExceeded": litellm.Timeout,
    "QuotaExceeded": litellm.APIError,
    "TooManyRequestsToday": litellm.RateLimitError,
    "EngineFailure": litellm.InternalServerError,
    "EngineLost": litellm.ServiceUnavailableError,
}


def main(http: str) -> None:
    options: dict[str, Any] = {"model": "openai/mini", "api_base": f"http://{http}/v1", "api_key": "none"}
    results = pictures(options) | edits(options) | {name: raises_its_kind(options, name) for name in KINDS}
    print(json.dumps(results | asyncio.run(asynchronously(options))))


def pictures(options: dict[str, Any]) -> dict[str, bool]:
    answer = litellm.image_generation(prompt="red apple", n=2, size="1024x1024", seed=7, **options)
    again = litellm.image_generation(prompt="red apple", n=2, size="1024x1024", seed=7, **options)
    older = {**options, "model": "openai/dall-e-3"}  # the only model for which litellm accepts these fields
    url = litellm.image_generation(prompt="red apple", response_format="url", user="ada", quality="hd", **older)
    return {
        "b64_json": all(base64.b64decode(one.b64_json).startswith(b"\x89PNG") for one in answer.data),
        "seed": [one.b64_json for one in answer.data] == [one.b64_json for one in again.data],
        "usage": answer.usage.total_tokens == 2,
        "url": "/v1/results/" in url.data[0].url,
    }


def edits(options: dict[str, Any]) -> dict[str, bool]:
    def picture() -> io.BytesIO:
        file = io.BytesIO(PNG)
        file.name = "/home/somebody/a.png"
        return file

    one = litellm.image_edit(image=picture(), prompt="a hat", **options)
    several = raised(lambda: litellm.image_edit(image=[picture(), picture()], prompt="a hat", **options))
    other = litellm.image_variation(image=picture(), **{**options, "model": "openai/dall-e-2"})
    return {
        "edit": base64.b64decode(one.data[0].b64_json).startswith(b"\x89PNG"),
        "edits": isinstance(several, litellm.BadRequestError) and "references" in str(several),
        "variation": base64.b64decode(other.data[0].b64_json).startswith(b"\x89PNG"),
    }


def raises_its_kind(options: dict[str, Any], name: str) -> bool:
    error = raised(lambda: litellm.image_generation(prompt=name, **options))
    return type(error) is KINDS[name]


def raised(call: Any) -> Any:
    try:
        call()
    except Exception as error:  # any type: the type is what is checked
        return error
    return None


async def asynchronously(options: dict[str, Any]) -> dict[str, bool]:
    answers = await asyncio.gather(*(litellm.aimage_generation(prompt="red apple", **options) for _ in range(3)))
    return {"async": all(answer.data for answer in answers)}


if __name__ == "__main__":
    main(sys.argv[1])
