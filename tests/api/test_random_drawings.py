"""Random values under known names at every drawing door: answered, and never with a fault of the server's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.api.app import create_app
from serve.api.drawing import CAMEL_CASE, names_of
from serve.api.openai.images_request import PROPERTIES
from serve.settings import Settings

APPLICATION = create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())
DOORS = st.sampled_from(
    ["/v1/images/generations", "/generate", "/api/illustrations/generate", "/api/diffusion/generate"]
)
NAMES = st.sampled_from(
    [*PROPERTIES, *names_of(CAMEL_CASE), "width", "height", "user_id", "userId", "preset", "memoryContext"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["svg", "64x64"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def post(path: str, body: dict[str, Any]) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(APPLICATION, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
            return await client.post(path, content=json.dumps(body).encode())

    return asyncio.run(send())


@given(DOORS, st.dictionaries(NAMES, VALUES, max_size=4), st.booleans())
def test_random_values(path: str, values: dict[str, Any], whole: bool) -> None:
    user = {"/generate": "user_id", "/api/illustrations/generate": "userId"}.get(path)
    least = {"prompt": "apple"} | ({user: "ada"} if user else {}) if whole else {}
    answer = post(path, {**least, **values})
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert json.loads(answer.text)
