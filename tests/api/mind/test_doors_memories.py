"""`/api/memories`, and how illustrations and better prompts recall them (A-071)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from keyed_door import KeyedSite, keyed_site
from stateful_door import is_problem

from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.errors import InvalidRequest
from serve.state import State, memories

MEMORIES, DRAW, ENHANCE = "/api/memories", "/api/illustrations/generate", "/api/nlp/enhance"
BOAT = {"title": "Holidays", "content": "a sailing boat on the blue sea", "date": "2001"}
CASTLE = {"title": "Book", "content": "the dragon in the castle"}


@pytest.fixture
def illustrator() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture
async def site(state: State, illustrator: IllustratorStandIn) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, illustrator) as opened:
        yield opened


async def kept(client: httpx.AsyncClient, memory: dict[str, Any]) -> str:
    answer = await client.post(MEMORIES, json=memory)
    assert answer.status_code == 201, answer.text
    memory_id: str = answer.json()["id"]
    return memory_id


async def test_memories_are_their_users_alone_and_bounded(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memories, "MAX_MEMORIES", 2)
    boat, castle = await kept(ada, BOAT), await kept(ada, CASTLE)
    listed = (await ada.get(MEMORIES)).json()["memories"]
    assert [one["id"] for one in listed] == [castle, boat]
    assert {name: listed[1][name] for name in BOAT} == BOAT
    assert is_problem(await ada.post(MEMORIES, json=BOAT), 400, "content")
    assert (await bob.get(MEMORIES)).json()["memories"] == []
    assert is_problem(await bob.delete(f"{MEMORIES}/{boat}"), 404, "id")
    assert (await ada.delete(f"{MEMORIES}/{boat}")).status_code == 204
    assert is_problem(await ada.delete(f"{MEMORIES}/{boat}"), 404, "id")
    await kept(ada, BOAT)


async def test_memories_added_at_once_stay_within_the_bound(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "MAX_MEMORIES", 2)
    added = [memories.add(state.database, "ada", "", f"memory {i}", None) for i in range(8)]
    done = await asyncio.gather(*added, return_exceptions=True)
    assert len([one for one in done if isinstance(one, memories.Memory)]) == 2
    assert len([one for one in done if isinstance(one, InvalidRequest)]) == 6


async def test_a_memory_is_analysed_once(ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    analysed, embed = [], PromptAnalyser.embed

    def counted(self: PromptAnalyser, prompt: str) -> Any:
        analysed.append(prompt)
        return embed(self, prompt)

    monkeypatch.setattr(PromptAnalyser, "embed", counted)
    content = f"a green frog by the pond {uuid.uuid4().hex}"  # what is kept is of the process
    await kept(ada, {"title": "Once", "content": content})
    for prompt in ("a frog", "a pond"):
        assert (await ada.post(DRAW, json={"prompt": prompt, "memoryContext": {"recall": True}})).status_code == 200
    assert analysed.count(f"Once. {content}") == 1


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        ({}, "content"),
        ({"content": " \n"}, "content"),
        ({"content": "x" * 10_001}, "content"),
        ({"content": "x", "title": "x" * 513}, "title"),
        ({"content": "a\0b"}, "content"),
        ({"content": "x", "when": "2001"}, "when"),
    ],
)
async def test_bad_memories_are_refused(ada: httpx.AsyncClient, memory: dict[str, Any], field: str) -> None:
    assert is_problem(await ada.post(MEMORIES, json=memory), 400, field)


async def test_illustrations_recall_a_stored_memory(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    boat = await kept(ada, BOAT)
    await kept(ada, CASTLE)

    async def drawn(context: dict[str, Any], prompt: str = "a ship at sea") -> tuple[str, dict[str, Any]]:
        answer = await ada.post(DRAW, json={"prompt": prompt, "memoryContext": context})
        assert answer.status_code == 200, answer.text
        return illustrator.asked[-1].prompt, answer.json()["metadata"]["parameters"]

    prompt, parameters = await drawn({"id": boat})
    assert prompt == "a ship at sea, Holidays, a sailing boat on the blue sea"
    assert parameters["memoryContext"] == {**BOAT, "id": boat}
    assert (await drawn({"recall": True}))[0] == prompt
    assert (await drawn({"recall": True}, "a knight fights a dragon"))[0].endswith(", Book, the dragon in the castle")
    alone, parameters = await drawn({"recall": True}, "qwerty")
    assert (alone, parameters.get("memoryContext")) == ("qwerty", None)
    assert (await drawn({"id": boat, "content": "we sank"}))[0] == "a ship at sea, Holidays, we sank"
    answer = await bob.post(DRAW, json={"prompt": "a ship", "memoryContext": {"id": boat}})
    assert is_problem(answer, 404, "memoryContext.id")


async def test_better_prompts_take_up_a_stored_memory(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    await kept(ada, BOAT)
    body = {"prompt": "a lighthouse by the sea", "memoryContext": {"recall": True}}
    changes = (await ada.post(ENHANCE, json=body)).json()["changes"]
    assert [one["text"] for one in changes if one["kind"] == "memory"] == ["recalling boat, blue tones"]
    assert all(one["kind"] != "memory" for one in (await bob.post(ENHANCE, json=body)).json()["changes"])
