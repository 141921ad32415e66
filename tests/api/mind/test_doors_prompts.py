"""`/api/nlp` through the real application (C-030 to C-038)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site
from stateful_door import is_problem

from serve.errors import InvalidRequest
from serve.security.identity import audit
from serve.state import State, prompts

FOX = "a red fox in a misty forest at dawn, watercolour"


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as opened:
        yield opened


async def test_analysis_is_kept_searched_and_made_favorite(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    first = (await ada.post("/api/nlp/analyze", json={"prompt": FOX})).json()
    assert first["served_by"] == "rules and text engine"
    assert [one["name"] for one in first["keywords"]["styles"]] == ["watercolour"]
    await ada.post("/api/nlp/analyze", json={"prompt": "a robot"})
    again = (await ada.post("/api/nlp/analyze", json={"prompt": FOX})).json()
    assert again["id"] == first["id"]
    page = (await ada.get("/api/nlp/history", params={"limit": 1})).json()
    assert [one["prompt"] for one in page["prompts"]] == [FOX]
    rest = (await ada.get("/api/nlp/history", params={"cursor": page["next_cursor"]})).json()
    assert ([one["prompt"] for one in rest["prompts"]], rest["next_cursor"]) == (["a robot"], None)
    found = (await ada.get("/api/nlp/history", params={"q": "nature sunrise"})).json()
    assert [one["id"] for one in found["prompts"]] == [first["id"]]
    assert (await bob.get("/api/nlp/history")).json()["prompts"] == []

    path = f"/api/nlp/favorite/{first['id']}"
    assert is_problem(await bob.put(path, json={}), 404, "id")
    assert (await ada.put(path, json={})).json() == {"id": first["id"], "favorite": True}
    favorites = (await ada.get("/api/nlp/history", params={"favorite": "true"})).json()["prompts"]
    assert [one["favorite"] for one in favorites] == [True]
    assert (await ada.put(path, json={"favorite": False})).json()["favorite"] is False


async def test_an_entry_is_deleted_by_its_user_alone(
    state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    kept = (await ada.post("/api/nlp/analyze", json={"prompt": FOX})).json()["id"]
    await ada.post("/api/nlp/analyze", json={"prompt": "a robot"})
    path = f"/api/nlp/history/{kept}"
    assert is_problem(await bob.delete(path), 404, "id")
    assert (await ada.delete(path)).status_code == 204
    recorded = (await audit.page(state.database, audit.Filters(action="prompts.delete"))).items
    assert [(one.user_id, one.subject, one.details) for one in recorded] == [("ada", "ada", {"entries": 1})]
    assert is_problem(await ada.delete(path), 404, "id")
    assert [one["prompt"] for one in (await ada.get("/api/nlp/history")).json()["prompts"]] == ["a robot"]


async def test_history_has_a_bound(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_KEPT", 2)
    ids = [await prompts.save(state.database, "ada", f"prompt {n}", {}, "") for n in range(2)]
    await prompts.set_favorite(state.database, ids[0], "ada", True)
    for number in range(2, 5):
        await prompts.save(state.database, "ada", f"prompt {number}", {}, "")
    kept = await prompts.history(state.database, "ada", None, 10)
    assert [one.text for one in kept.items] == ["prompt 4", "prompt 3", "prompt 0"]
    monkeypatch.setattr(prompts, "MAX_FAVORITES", 1)
    await prompts.set_favorite(state.database, ids[0], "ada", True)
    with pytest.raises(InvalidRequest):
        await prompts.set_favorite(state.database, kept.items[0].id, "ada", True)


async def test_nothing_is_kept_without_save(ada: httpx.AsyncClient) -> None:
    assert (await ada.post("/api/nlp/analyze", json={"prompt": FOX, "save": False})).json()["id"] is None
    assert (await ada.get("/api/nlp/history")).json()["prompts"] == []


async def test_keywords_sentiment_enhance_and_presets(ada: httpx.AsyncClient) -> None:
    keywords = (await ada.post("/api/nlp/keywords", json={"prompt": FOX})).json()
    assert set(keywords["keywords"]) == {"styles", "moods", "colors", "lighting", "textures", "compositions"}
    sentiment = (await ada.post("/api/nlp/sentiment", json={"prompt": "a very happy kitten"})).json()
    assert (sentiment["label"], sentiment["served_by"]) == ("positive", "rules and text engine")
    memory = {"title": "Holidays", "content": "the blue boat of my father", "date": "2001"}
    body = {"prompt": "a lighthouse", "level": "rich", "style": "woodcut", "memoryContext": memory}
    better = (await ada.post("/api/nlp/enhance", json=body)).json()
    assert better["enhanced"].startswith("a lighthouse, recalling boat")
    assert {"memory", "styles"} <= {one["kind"] for one in better["changes"]}
    assert {"landscape", "portrait", "abstract", "fantasy", "sci-fi"} == set(
        (await ada.get("/api/nlp/presets")).json()["categories"]
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("analyze", {}, "prompt"),
        ("analyze", {"prompt": ""}, "prompt"),
        ("analyze", {"prompt": "a\0b"}, "prompt"),
        ("keywords", {"prompt": "fox", "wrong": 1}, "wrong"),
        ("enhance", {"prompt": "fox", "level": "much"}, "level"),
        ("enhance", {"prompt": "fox", "style": "nothing"}, "style"),
    ],
)
async def test_bad_input_names_its_field(
    ada: httpx.AsyncClient, path: str, body: dict[str, object], field: str
) -> None:
    assert is_problem(await ada.post(f"/api/nlp/{path}", json=body), 400, field)


async def test_invalid_utf8_and_long_prompts(ada: httpx.AsyncClient) -> None:
    answer = await ada.post("/api/nlp/analyze", content=b'{"prompt": "\xff"}')
    assert answer.status_code == 400
    refused = (await ada.post("/api/nlp/analyze", json={"prompt": "x" * 10_001})).json()
    assert refused["detail"] == "must have at most 10000 characters, not 10001"
    long = await ada.post("/api/nlp/analyze", json={"prompt": "שועל 🦊 \u202e" * 900, "save": False})
    assert long.status_code == 200


async def test_history_is_deleted_and_favorites_stay_unless_named(
    state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for prompt in (FOX, "a robot"):
        await ada.post("/api/nlp/analyze", json={"prompt": prompt})
    await bob.post("/api/nlp/analyze", json={"prompt": "a boat"})
    first = (await ada.get("/api/nlp/history", params={"q": "fox"})).json()["prompts"][0]["id"]
    await ada.put(f"/api/nlp/favorite/{first}", json={})
    newest = (await ada.get("/api/nlp/history")).json()["prompts"][0]["created_at"]
    await ada.post("/api/nlp/analyze", json={"prompt": "made after the list was seen"})
    assert (await ada.delete("/api/nlp/history", params={"until": newest})).json() == {"deleted": 1}
    assert (await ada.delete("/api/nlp/history")).json() == {"deleted": 1}
    assert [one["id"] for one in (await ada.get("/api/nlp/history")).json()["prompts"]] == [first]
    assert (await ada.delete("/api/nlp/history", params={"favorites": "true"})).json() == {"deleted": 1}
    assert (await ada.get("/api/nlp/history")).json()["prompts"] == []
    assert len((await bob.get("/api/nlp/history")).json()["prompts"]) == 1
    assert (await bob.delete("/api/nlp/history", params={"userId": "ada"})).status_code == 403
    assert is_problem(await ada.delete("/api/nlp/history", params={"favorites": "perhaps"}), 400, "favorites")
    assert is_problem(await ada.delete("/api/nlp/history", params={"until": "now"}), 400, "until")
