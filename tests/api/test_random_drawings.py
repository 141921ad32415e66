"""Random values of known fields at every drawing endpoint: a response without a server error."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from illustrator_standin import IllustratorStandIn
from pictures import drawn, encode
from standin import StandIn

from serve.api.app import create_app
from serve.api.native.illustrations import IllustrationRequest
from serve.api.openai.image_models import ImagesBody
from serve.settings import Settings

APPLICATION = create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())
DOORS = st.sampled_from(
    ["/v1/images/generations", "/generate", "/api/illustrations/generate", "/api/diffusion/generate"]
)
NAMES = st.sampled_from(
    [*ImagesBody.field_names(), *IllustrationRequest.field_names(), "width", "height", "user_id", "preset"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["svg", "64x64"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def post(path: str, body: dict[str, Any]) -> httpx.Response:
    return send(path, json.dumps(body).encode(), b"application/json")


def send(path: str, content: bytes, kind: bytes) -> httpx.Response:
    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(APPLICATION, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
            return await client.post(path, content=content, headers={b"content-type": kind})

    return asyncio.run(sent())


@given(DOORS, st.dictionaries(NAMES, VALUES, max_size=4), st.booleans())
def test_random_values(path: str, values: dict[str, Any], whole: bool) -> None:
    user = {"/generate": "user_id", "/api/illustrations/generate": "userId"}.get(path)
    least = {"prompt": "apple"} | ({user: "ada"} if user else {}) if whole else {}
    answer = post(path, {**least, **values})
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert json.loads(answer.text)


LOGO = encode(drawn())
EDITS = st.sampled_from(["/v1/images/edits", "/v1/images/variations"])
PICTURE = {"image_url": f"data:image/png;base64,{base64.b64encode(LOGO).decode()}"}
PICTURES = st.just(PICTURE) | VALUES | st.dictionaries(st.sampled_from(["image_url", "file_id"]), VALUES)
FILES = st.sampled_from([b"image", b"image[]", b"mask", b"markup", b"prompt", b"n", b"x"])


@given(
    st.lists(PICTURES, max_size=3) | VALUES, st.fixed_dictionaries({}, optional={"mask": PICTURES, "markup": PICTURES})
)
def test_random_pictures_in_json(images: Any, parts: dict[str, Any]) -> None:
    """None is fetched: random text is no URL."""
    answer = post("/v1/images/edits", {"prompt": "a hat", "images": images, **parts})
    assert answer.status_code < 500, answer.text
    assert answer.json().get("data") or answer.json()["error"]["code"]


@given(EDITS, st.lists(st.tuples(FILES, st.booleans(), st.data()), max_size=5))
def test_random_forms(path: str, parts: list[tuple[bytes, bool, st.DataObject]]) -> None:
    """Parts with all names, as files and as text, with damaged pictures in them."""
    body = b"".join(_part(name, is_file, _damaged(data)) for name, is_file, data in parts) + b"--x--\r\n"
    answer = send(path, body, b"multipart/form-data; boundary=x")
    assert answer.status_code < 500, answer.text
    assert answer.json().get("data") or answer.json()["error"]["code"]


def _part(name: bytes, is_file: bool, data: bytes) -> bytes:
    file_name = b'; filename="../a"' if is_file else b""
    return b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, file_name, data)


def _damaged(data: st.DataObject) -> bytes:
    picture = bytearray(LOGO)
    for _ in range(data.draw(st.integers(0, 4))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    return bytes(picture[: data.draw(st.integers(0, len(picture)))])
