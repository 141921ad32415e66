"""Feedback, preferences, recommendations and insights through the real application (C-050 to C-061)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site
from stateful_door import is_problem

from serve.api.mind.analyser import analyser
from serve.personalisation import feedback, taste
from serve.personalisation.algorithm_comparison import assigned
from serve.personalisation.taste import TasteService
from serve.settings import TasteSettings
from serve.state import State
from serve.state.tables import generations, utc_now


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, taste={"population_age_s": 0.0}) as opened:
        yield opened


async def add(state: State, name: str, prompt: str, user_id: str = "ada", hours_ago: float = 1.0, **more: Any) -> str:
    at = utc_now() - timedelta(hours=hours_ago)
    row = {
        "id": name, "user_id": user_id, "kind": "illustrate", "prompt": prompt, "model": "mini", "status": "completed",
        "details": {"parameters": {"sampler": "euler"}}, "created_at": at, "completed_at": at,
    }  # fmt: skip
    async with state.database.write() as connection:
        await connection.execute(generations.insert().values(**row | more))
    return name


async def say(client: httpx.AsyncClient, kind: str, generation: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(f"/api/feedback/{kind}", json={"generationId": generation, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_events_count_once_and_have_their_rewards(state: State, ada: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox, watercolour")
    assert (await say(ada, "rate", "g1", stars=2, comment="too dark"))["reward"] == -0.5
    assert (await say(ada, "rate", "g1", stars=5))["reward"] == 1.0
    for _ in range(2):
        assert (await say(ada, "like", "g1"))["reward"] == 0.5
        assert (await say(ada, "share", "g1"))["reward"] == 0.8
        assert (await say(ada, "download", "g1"))["reward"] == 0.6
    assert (await say(ada, "favorite", "g1"))["reward"] == 1.0
    stats = (await ada.get("/api/feedback/stats", params={"generationId": "g1"})).json()
    assert stats["byKind"] == {"rate": 1, "like": 1, "share": 1, "download": 1, "favorite": 1}
    assert (stats["meanStars"], stats["meanReward"]) == (5.0, pytest.approx(3.9 / 5))
    assert stats["given"]["rate"] == {"value": 5.0, "comment": "too dark"}  # kept until another one is sent
    row = (await ada.get("/v1/generations/g1")).json()
    assert (row["favorite"], row["rating"]) == (True, 5.0)

    assert (await say(ada, "like", "g1", liked=False))["active"] is False
    await say(ada, "favorite", "g1", favorite=False)
    assert set((await ada.get("/api/feedback/stats")).json()["byKind"]) == {"rate", "share", "download"}
    assert (await ada.get("/v1/generations/g1")).json()["favorite"] is False


async def test_favorite_of_the_gallery_is_feedback(state: State, ada: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox")
    for _ in range(2):
        await ada.put("/v1/generations/g1/favorite")
    assert (await ada.get("/api/feedback/stats")).json()["byKind"] == {"favorite": 1}
    await ada.delete("/v1/generations/g1/favorite")
    assert (await ada.get("/api/feedback/stats")).json()["byKind"] == {}


async def test_feedback_of_another_users_generation_is_refused(
    state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await add(state, "g1", "a red fox")
    for kind, more in (("rate", {"stars": 5}), ("like", {}), ("favorite", {}), ("share", {}), ("download", {})):
        answer = await bob.post(f"/api/feedback/{kind}", json={"generationId": "g1", **more})
        assert is_problem(answer, 404, "generationId")
    assert is_problem(
        await ada.post("/api/feedback/like", json={"generationId": "g1", "resultId": "x"}), 404, "resultId"
    )
    assert (await ada.get("/api/feedback/stats")).json()["byKind"] == {}


async def test_no_interaction_counts_after_its_time(state: State, ada: httpx.AsyncClient) -> None:
    await add(state, "old", "a fox, woodcut", hours_ago=30)
    await add(state, "new", "a fox, woodcut", hours_ago=1)
    await add(state, "liked", "a fox, woodcut", hours_ago=40)
    await say(ada, "like", "liked")
    found = (await ada.get("/api/preferences")).json()
    assert found["modelPreferences"]["mini"] == {"score": pytest.approx(0.15), "pulls": 2, "wins": 1}
    assert (found["samplerPreferences"]["euler"]["pulls"], found["totalGenerations"]) == (2, 3)
    assert found["stylePreferences"] == {"woodcut": pytest.approx(0.15)}
    assert found["epsilon"] == 0.1


async def test_choice_follows_the_context(state: State, ada: httpx.AsyncClient) -> None:
    for number in range(6):
        await add(state, f"w{number}", "a fox in the forest, watercolour")
        await say(ada, "favorite", f"w{number}")
        await add(state, f"p{number}", "a robot in space, pixel art")
        await say(ada, "favorite", f"p{number}")
        await add(state, f"b{number}", "a robot in space, watercolour")
        await say(ada, "rate", f"b{number}", stars=1)
    await ada.put("/api/preferences", json={"epsilon": 0.0, "algorithm": "epsilon_greedy"})
    body = {"dimension": "style", "candidates": ["watercolour", "pixel art"]}
    nature = (await ada.post("/api/recommendations/select", json={**body, "prompt": "a deer in the woods"})).json()
    space = (await ada.post("/api/recommendations/select", json={**body, "prompt": "a rocket and a planet"})).json()
    assert (nature["name"], space["name"]) == ("watercolour", "pixel art")
    assert space["confidence"] > 0.6
    assert not space["explored"]
    insights = (await ada.get("/api/analytics/insights", params={"prompt": "a robot"})).json()
    assert insights["predicted"][0]["style"] == "pixel art"
    assert any(one["name"] == "pixel art" and one["kind"] == "best" for one in insights["insights"])


async def test_recommendations_from_own_likes_similar_users_and_trends(
    state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for number, prompt in enumerate(("a fox, watercolour", "a tree, watercolour, storybook")):
        await add(state, f"a{number}", prompt)
        await say(ada, "favorite", f"a{number}")
        await add(state, f"b{number}", prompt + ", paper cut", user_id="bob")
        await say(bob, "favorite", f"b{number}")
    found = (await ada.get("/api/recommendations", params={"count": 10})).json()
    for_you = {(one["kind"], one["name"]): one["reason"] for one in found["forYou"]}
    assert for_you["style", "watercolour"] == "you liked it"
    assert ("style", "paper cut") in for_you  # of a similar user
    assert ("prompt", "a fox, watercolour") in for_you
    assert "watercolour" in [one["name"] for one in found["trending"]]
    assert "paper cut" in [one["name"] for one in found["similar"]]
    assert len(found["explore"]) == 10
    assert "bob" not in str(found)


async def test_population_is_read_once_and_a_prompt_of_mood_words_harms_nobody(
    state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(state, "b1", "dramatic " * 1100, user_id="bob")
    await say(bob, "like", "b1")
    assert (await ada.get("/api/recommendations")).status_code == 200
    service, reads = TasteService(state.database, TasteSettings(), analyser()), []
    read = feedback.population

    async def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return await read(*arguments)

    monkeypatch.setattr(feedback, "population", counted)
    everybody = await asyncio.gather(*(service.everybody() for _ in range(5)))
    assert len({id(one) for one in everybody}) == 1
    assert len(reads) == 1


async def test_new_user_has_recommendations(ada: httpx.AsyncClient) -> None:
    found = (await ada.get("/api/recommendations")).json()
    assert (found["forYou"], found["trending"], len(found["explore"])) == ([], [], 5)
    choice = (await ada.post("/api/recommendations/select", json={"dimension": "style"})).json()
    assert choice["name"]


async def test_taste_is_exported_and_deleted(state: State, ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox, watercolour")
    await add(state, "g2", "a red fox", user_id="bob")
    await say(ada, "rate", "g1", stars=5, comment="lovely")
    await say(bob, "like", "g2")
    await ada.put("/api/preferences", json={"epsilon": 0.5})
    exported = (await ada.get("/api/preferences/export")).json()
    assert [(one["generationId"], one["value"], one["comment"]) for one in exported["interactions"]] == [
        ("g1", 5.0, "lovely")
    ]
    assert exported["preferences"]["epsilon"] == 0.5
    assert (await ada.delete("/api/preferences")).json() == {"deleted": 1}
    after = (await ada.get("/api/preferences")).json()
    assert (after["modelPreferences"], after["epsilon"]) == ({}, 0.1)
    assert (await ada.get("/v1/generations/g1")).json()["rating"] is None
    assert (await bob.get("/api/feedback/stats")).json()["byKind"] == {"like": 1}


async def test_deleted_taste_does_not_come_back_as_no_interaction(state: State, ada: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox", hours_ago=40)
    await say(ada, "favorite", "g1")
    await ada.delete("/api/preferences")
    await ada.put("/api/preferences", json={"epsilon": 0.5})
    assert (await ada.get("/api/preferences")).json()["modelPreferences"] == {}


async def test_deleted_taste_leaves_the_averages_of_other_processes(
    state: State, bob: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(state, "b1", "a red fox, watercolour", user_id="bob")
    await say(bob, "like", "b1")
    other = TasteService(state.database, TasteSettings(), analyser())
    assert (await other.everybody()).profile.interactions
    await bob.delete("/api/preferences")
    monkeypatch.setattr(taste, "FORGOTTEN_AGE_S", 0.0)
    assert not (await other.everybody()).profile.interactions


async def test_one_user_counts_once_and_drawings_alone_teach(state: State, ada: httpx.AsyncClient) -> None:
    for number in range(3):
        await add(state, f"w{number}", "a fox, watercolour")
        for kind in ("like", "favorite", "share"):
            await say(ada, kind, f"w{number}")
    await add(state, "v", "a fox, woodcut", kind="vectorize")
    await add(state, "f", "a fox, pixel art", status="failed")
    for name in ("v", "f"):
        await say(ada, "favorite", name)
    found = feedback.best_of_each(await feedback.population(state.database))
    assert [(one.kind, one.reward) for one in found] == [("favorite", 1.0)] * 3
    trending = (await ada.get("/api/recommendations")).json()["trending"]
    assert [(one["name"], one["score"], one["reason"]) for one in trending] == [
        ("watercolour", 1.0, "liked by 1 user within 7 days")
    ]
    assert (await ada.get("/api/preferences")).json()["stylePreferences"] == {"watercolour": pytest.approx(0.7667)}


async def test_another_rating_is_a_new_event_in_time(state: State, ada: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox")
    times = []
    for stars in (2, 2, 5):
        await say(ada, "rate", "g1", stars=stars)
        times.append((await feedback.population(state.database))[0].at)
    assert times[0] == times[1] < times[2]


async def test_algorithms_are_compared_between_users(
    state: State, ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    assert (await ada.get("/api/admin/taste/algorithms")).status_code == 403
    assert (await admin.get("/api/admin/taste/algorithms")).json() == {"algorithms": []}
    compared: tuple[Literal["ucb", "thompson"], ...] = ("ucb", "thompson")
    everybody = [f"user{number}" for number in range(40)]
    users = {name: [one for one in everybody if assigned(one, compared) == name][:3] for name in compared}
    for name, chosen in users.items():
        for number, user in enumerate(chosen):
            await add(state, f"{user}-g", "a red fox", user_id=user)
            async with state.database.write() as connection:
                await feedback.put(connection, user, f"{user}-g", "rate", 5 if name == "ucb" else 2 + number % 2)
    service = TasteService(state.database, TasteSettings(compared=compared), analyser())
    first = users["thompson"][0]
    assert (await service.document(first))["algorithm"] == "thompson"
    ucb, thompson = await service.compared()
    assert (ucb.users, ucb.mean_reward, ucb.low, ucb.high) == (3, 1.0, 1.0, 1.0)
    assert (thompson.users, thompson.interactions) == (3, 3)
    assert thompson.high is not None
    assert thompson.high < 1.0
    await service.set_own(first, None, "ucb")
    assert [one.users for one in await service.compared()] == [3, 2]


async def test_cohorts_are_for_admins(state: State, ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    await add(state, "g1", "a red fox")
    await add(state, "g2", "a red fox", user_id="bob")
    await say(ada, "rate", "g1", stars=4)
    assert (await ada.get("/api/admin/cohorts/active")).status_code == 403
    active = (await admin.get("/api/admin/cohorts/active")).json()
    assert (active["users"], active["feedback"], active["meanStars"]) == (1, {"rate": 1}, 4.0)
    assert (await admin.get("/api/admin/cohorts/silent")).json()["users"] == 1
    assert (await admin.get("/api/admin/cohorts/new")).json()["users"] == 2
    assert is_problem(await admin.get("/api/admin/cohorts/none"), 404, "cohort")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/feedback/rate", {"generationId": "g1"}, "stars"),
        ("/api/feedback/rate", {"generationId": "g1", "stars": 6}, "stars"),
        ("/api/feedback/rate", {"generationId": "g1", "stars": 2.5}, "stars"),
        ("/api/feedback/rate", {"stars": 3}, "generationId"),
        ("/api/feedback/like", {"generationId": "../etc"}, "generationId"),
        ("/api/feedback/rate", {"generationId": "g1", "stars": 3, "comment": "x" * 2001}, "comment"),
        ("/api/recommendations/select", {"dimension": "weather"}, "dimension"),
        ("/api/recommendations/select", {"algorithm": "luck"}, "algorithm"),
    ],
)
async def test_bad_input_names_its_field(ada: httpx.AsyncClient, path: str, body: dict[str, Any], field: str) -> None:
    assert is_problem(await ada.post(path, json=body), 400, field)


async def test_an_export_has_more_events_than_one_read(
    state: State, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "EVENTS_A_READ", 3)
    for number in range(7):
        await add(state, f"g{number}", "a red fox")
        await say(ada, "rate", f"g{number}", stars=1 + number % 5)
    exported = (await ada.get("/api/preferences/export")).json()["interactions"]
    assert [one["generationId"] for one in exported] == [f"g{number}" for number in range(7)]
    assert len({one["at"] for one in exported}) == 7


async def test_admins_change_the_preferences_of_others_and_nobody_else_does(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    body = {"epsilon": 0.25, "algorithm": "thompson", "userId": "ada"}
    assert (await bob.put("/api/preferences", json=body)).status_code == 403
    changed = await admin.put("/api/preferences", json=body)
    assert changed.status_code == 200, changed.text
    found = (await ada.get("/api/preferences")).json()
    assert found["epsilon"] == 0.25
    assert (await bob.get("/api/preferences")).json()["epsilon"] == 0.1
