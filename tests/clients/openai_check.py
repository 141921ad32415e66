"""Runs in the environment of tests/clients/requirements.txt: OpenAI's own package against a running stack.

Usage: python openai_check.py HTTP (address as host:port). Prints one line of JSON; fails loudly.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import openai

PROMPT = "red apple, flat"
MASK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAYAAABytg0kAAAAF0lEQVR4nAXBAQ0AAADCIGb/zhdAtAgOJAAD/yd0ZcAAAAAASUVORK5CYII="
)
"""2 x 2 pixels, one of them transparent."""
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def main(http: str) -> None:
    options: dict[str, Any] = {"base_url": f"http://{http}/v1", "api_key": "none", "max_retries": 0, "timeout": 300}
    client = openai.OpenAI(**options)
    results = {**models(client), **pictures(client), **stream(client), **errors(client), **edits(client)}
    results |= asyncio.run(asynchronously(openai.AsyncOpenAI(**options)))
    print(json.dumps(results))


def models(client: openai.OpenAI) -> dict[str, bool]:
    first = client.models.list().data[0]
    return {"models": client.models.retrieve(first.id).id == first.id and first.owned_by == "atelier"}


def pictures(client: openai.OpenAI) -> dict[str, bool]:
    """The examples of OpenAI's documents, and Atelier's own keys in ``extra_body``."""
    extra = {"seed": 7, "steps": 4, "guidance_scale": 2.0, "negative_prompt": "text"}
    first, second = (
        client.images.generate(model="gpt-image-2", prompt=PROMPT, n=2, size="1024x1024", extra_body=extra)
        for _ in range(2)
    )
    url = client.images.generate(prompt=PROMPT, response_format="url", output_format="jpeg", extra_body=extra)
    svg = client.images.generate(prompt=PROMPT, output_format="svg", extra_body=extra)
    return {
        "png": all(decoded(image).startswith(PNG) for image in first.data),
        "different_seeds": first.data[0].b64_json != first.data[1].b64_json,
        "same_seed_same_picture": [i.b64_json for i in first.data] == [i.b64_json for i in second.data],
        "usage": first.usage.input_tokens > 0 and first.usage.total_tokens >= first.usage.input_tokens,
        "size": "x" in first.size,
        "seed": first.data[1].seed == 8,
        "url": base64.b64decode(url.data[0].url.removeprefix("data:image/jpeg;base64,")).startswith(JPEG),
        "svg": decoded(svg.data[0]).startswith(b"<svg"),
        "request_id": bool(
            client.images.with_raw_response.generate(prompt=PROMPT, extra_body=extra).headers["x-request-id"]
        ),
    }


def stream(client: openai.OpenAI) -> dict[str, bool]:
    events = list(client.images.generate(prompt=PROMPT, stream=True, partial_images=2, extra_body={"steps": 6}))
    kinds = [event.type for event in events]
    return {
        "stream": kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"],
        "partial_images": [event.partial_image_index for event in events[:-1]] == [0, 1],
        "stream_png": all(decoded(event).startswith(PNG) for event in events),
        "stream_usage": events[-1].usage.input_tokens > 0,
    }


def errors(client: openai.OpenAI) -> dict[str, bool]:
    results = {}
    for name, keys, kind, param in (
        ("size", {"size": "axb"}, openai.BadRequestError, "size"),
        ("n", {"n": 11}, openai.BadRequestError, "n"),
        ("gif", {"output_format": "gif"}, openai.BadRequestError, "output_format"),
        ("sampler", {"extra_body": {"sampler": "nothing"}}, openai.BadRequestError, "sampler"),
        ("stream_error", {"stream": True, "extra_body": {"steps": 0}}, openai.BadRequestError, "steps"),
    ):
        error = raised(lambda keys=keys: client.images.generate(prompt=PROMPT, **keys))
        results[name] = isinstance(error, kind) and error.param == param and bool(error.request_id and error.code)
    missing = raised(lambda: client.models.retrieve("gpt-image-2"))
    results["no_model"] = isinstance(missing, openai.NotFoundError) and missing.code == "model_not_found"
    return results


def edits(client: openai.OpenAI) -> dict[str, bool]:
    """Every form of the request is drawn; several pictures, which are references, are refused as unsupported."""
    picture, mask = decoded(client.images.generate(prompt=PROMPT).data[0]), ("m.png", MASK, "image/png")
    requests: list[dict[str, Any]] = [
        {"image": ("/home/somebody/a.png", picture), "n": 2, "input_fidelity": "high"},
        {"image": [("a.png", picture)], "size": "auto", "extra_body": {"seed": 7, "strength": 0.5}},
        {"image": ("a.png", MASK), "mask": mask, "output_format": "webp", "output_compression": 80},
        {"image": ("a.png", MASK), "markup": mask, "svg": {"model": "x", "reasoning": {"effort": "low"}}},
    ]
    drawn = [client.images.edit(prompt="a hat", **keys) for keys in requests]
    varied = client.images.create_variation(image=("a.png", picture), n=2, size="512x512")
    streamed = {"image": ("a.png", picture), "stream": True, "partial_images": 1, "extra_body": {"steps": 8}}
    kinds = [event.type for event in client.images.edit(prompt="a hat", **streamed)]
    several = [("a.png", picture), ("b.png", picture)]
    refused = raised(lambda: client.images.edit(prompt="a hat", image=several))
    wrong = raised(lambda: client.images.edit(prompt="a hat", image=("a.png", picture), mask=mask))
    return {
        "edits": [len(one.data) for one in drawn] == [2, 1, 1, 1] and decoded(drawn[2].data[0])[8:12] == b"WEBP",
        "variations": len({one.b64_json for one in varied.data}) == 2,
        "edits_stream": kinds == ["image_edit.partial_image", "image_edit.completed"],
        "edits_code": (refused.code, refused.param) == ("unsupported_operation", "image"),
        "edits_mask": (wrong.code, wrong.param) == ("invalid_request", "mask"),
        "no_chat": getattr(raised(lambda: client.chat.completions.create(model="x", messages=[])), "code", "")
        == "unknown_url",
    }


def raised(call: Any) -> Any:
    try:
        call()
    except openai.APIError as error:
        return error
    return None


async def asynchronously(client: openai.AsyncOpenAI) -> dict[str, bool]:
    answers = await asyncio.gather(*(client.images.generate(prompt=PROMPT, output_format="webp") for _ in range(3)))
    stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=1, extra_body={"steps": 6})
    kinds = [event.type async for event in stream]
    return {
        "async": all(decoded(answer.data[0])[8:12] == b"WEBP" for answer in answers),
        "async_stream": kinds == ["image_generation.partial_image", "image_generation.completed"],
    }


def decoded(image: Any) -> bytes:
    return base64.b64decode(image.b64_json, validate=True)


if __name__ == "__main__":
    main(sys.argv[1])
