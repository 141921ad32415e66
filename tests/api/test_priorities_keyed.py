"""Who may ask for high priority, and what is kept for those who may: in the words of both doors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from keyed_door import KeyedSite, keyed_site

from serve.api.admission import Places
from serve.errors import Overloaded
from serve.state import State
from serve.urgency import Priority

DRAWN = {"prompt": "a fox", "steps": 1}
PATH = "/api/diffusion/generate"
HIGH = {"X-Priority": "high"}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as found:
        yield found


async def test_a_users_key_may_not_ask_for_high_priority(site: KeyedSite) -> None:
    ada, admin = await site.key("ada"), await site.key("root", role="admin")
    async with site.door(ada.secret) as door:
        answer = await door.post(PATH, json=DRAWN, headers=HIGH)
        assert (answer.status_code, answer.json()["field"]) == (403, "X-Priority")
        body = {"prompt": "a fox", "priority": 1}
        answer = await door.post("/v2/models/illustrate/generate", json=body)
        assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (403, "priority")
        for word in ("normal", "low"):
            assert (await door.post(PATH, json=DRAWN, headers={"X-Priority": word})).status_code == 200
    async with site.door(admin.secret) as door:
        assert (await door.post(PATH, json=DRAWN, headers=HIGH)).status_code == 200


async def test_a_site_may_let_everybody(state: State) -> None:
    async with keyed_site(state, gateway={"high_priority": "everybody"}) as site:
        ada = await site.key("ada")
        async with site.door(ada.secret) as door:
            assert (await door.post(PATH, json=DRAWN, headers=HIGH)).status_code == 200


def test_the_less_urgent_are_refused_before_there_is_no_place() -> None:
    places = Places(10, 0.1)
    held = [places.taken(Priority.HIGH) for _ in range(8)]
    for one in held:
        one.__enter__()
    with pytest.raises(Overloaded), places.taken(Priority.LOW):
        pass
    with places.taken(Priority.NORMAL):
        with pytest.raises(Overloaded), places.taken(Priority.NORMAL):
            pass
        with places.taken(Priority.HIGH), pytest.raises(Overloaded), places.taken(Priority.HIGH):
            pass
