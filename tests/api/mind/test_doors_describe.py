"""`/api/captions/describe`: pictures described by a language model that sees them, in several turns (B-024)."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Request
from keyed_door import KeyedSite, keyed_site
from pictures import REFUSED, encode
from PIL import Image
from standin import StandIn
from stateful_door import is_problem

from serve.api.app import create_app
from serve.api.captions import describing
from serve.api.mind.director import director_of
from serve.ensembles.captioner.describer import Describer, templates
from serve.ensembles.director.chat_model import ChatFailed, ChatOptions, Message
from serve.settings import DirectorSettings, Settings
from serve.state import State

DESCRIBE = "/api/captions/describe"
PNG = encode(Image.new("RGB", (900, 300), (200, 30, 30)))


class Seeing:
    """Says the colour of the picture, and how many questions it was asked."""

    name = "seeing"

    def __init__(self) -> None:
        self.asked: list[Sequence[Message]] = []
        self.says: str | None = None

    async def stream(self, messages: Sequence[Message], options: ChatOptions) -> AsyncGenerator[str, None]:
        self.asked.append(messages)
        if self.says is None:
            raise ChatFailed("did not answer in time")
        for piece in (self.says, " "):
            yield piece


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Seeing:
    made = Seeing()
    monkeypatch.setattr(describing, "describer_of", lambda _: Describer(made, ChatOptions()))
    return made


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as opened:
        yield opened


async def test_a_picture_is_described_in_several_turns(ada: httpx.AsyncClient, model: Seeing) -> None:
    model.says = "A red wall."
    first = (await ada.post(DESCRIBE, files={"image": ("a.png", PNG)}, data={"template": "style"})).json()
    assert (first["text"], first["model"], first["question"]) == ("A red wall.", "seeing", templates()["style"])
    system, asked = model.asked[0]
    assert (system.role, system.picture, asked.content) == ("system", b"", templates()["style"])
    seen = Image.open(io.BytesIO(asked.picture))
    assert seen.size == (768, 256)
    assert np.asarray(seen)[0, 0].tolist() == [200, 30, 30]
    model.says = "Yes."
    image = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    body = {"question": "Is it bright?", "turns": first["turns"], "image": image}
    second = (await ada.post(DESCRIBE, json=body)).json()
    assert [one.role for one in model.asked[1]] == ["system", "user", "assistant", "user"]
    assert [bool(one.picture) for one in model.asked[1]] == [False, True, False, False]
    assert second["turns"] == [*first["turns"], {"question": "Is it bright?", "answer": "Yes."}]
    body["turns"] = [{"question": f"{i}?", "answer": "No."} for i in range(describing.MAX_TURNS)]
    third = (await ada.post(DESCRIBE, json=body)).json()
    assert third["turns"] == [*body["turns"][1:], second["turns"][-1]], "no more than the next request may have"


def test_the_director_and_descriptions_share_one_queue() -> None:
    director = DirectorSettings(base_url="http://127.0.0.1:1/v1", sees_pictures=True)
    site = create_app(StandIn(), Settings(director=director))
    request = Request({"type": "http", "app": site})
    describer = describing.describer_of(request)
    assert describer.model is asyncio.run(director_of(request)).model


async def test_what_cannot_be_described_is_refused(ada: httpx.AsyncClient, model: Seeing) -> None:
    async def refused(status: int, field: str | None, data: bytes = PNG, **fields: Any) -> None:
        answer = await ada.post(DESCRIBE, files={"image": ("a.png", data)}, data=fields)
        assert is_problem(answer, status, field)

    await refused(400, "template", template="nobody")
    await refused(400, "template", template="style", question="why?")
    await refused(415, "image", REFUSED["not_an_image"])
    await refused(400, "max_tokens", max_tokens="0")
    assert model.asked == []
    await refused(503, None)
    model.says = " "
    await refused(503, None)


async def test_without_a_model_that_sees_the_answer_says_what_to_set(ada: httpx.AsyncClient) -> None:
    answer = await ada.post(DESCRIBE, files={"image": ("a.png", PNG)})
    assert is_problem(answer, 501, "image")
    assert "director.sees_pictures" in answer.json()["detail"]
    assert set((await ada.get("/api/captions/templates")).json()["templates"]) == set(templates())
