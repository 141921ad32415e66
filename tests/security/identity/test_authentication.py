"""What every door asks: with keys and without, by each of the ways in which clients send them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
from access_site import ME, wrong_key

from serve.errors import Unauthorized
from serve.security.identity.authentication import Authenticator
from serve.security.identity.keys import CreatedKey, Keys
from serve.security.identity.roles import LOCAL
from serve.settings import AccessSettings
from serve.state import State

HERE = "192.0.2.1"


@pytest.fixture
async def made(keys: Keys) -> CreatedKey:
    return await keys.create("ada", ME, role="user")


@pytest.fixture
def closed(keys: Keys) -> Authenticator:
    return Authenticator(keys, required=True)


@pytest.fixture
def open_(keys: Keys) -> Authenticator:
    return Authenticator(keys, required=False)


@pytest.fixture
async def by_settings(state: State) -> AsyncIterator[Authenticator]:
    settings = state.settings.model_copy(update={"access": AccessSettings(required="on")})
    gate = await Authenticator.open(State(state.database, state.objects, settings))
    yield gate
    await gate.close()


async def test_each_way_of_sending_a_key(closed: Authenticator, made: CreatedKey) -> None:
    basic = base64.b64encode(f"a1111:{made.secret}".encode()).decode()
    for authorization, api_key in (([f"Bearer {made.secret}"], []), ([], [made.secret]), ([f"Basic {basic}"], [])):
        assert (await closed.authenticate(authorization, api_key, HERE)).user_id == "ada"


async def test_nobody_comes_in_without_one(closed: Authenticator, made: CreatedKey) -> None:
    for authorization in ([], [""], ["Bearer none"], [f"Bearer {wrong_key()}"], [made.secret], ["Basic x"]):
        with pytest.raises(Unauthorized) as refused:
            await closed.authenticate(authorization, [], HERE)
        assert refused.value.status == 401
        assert refused.value.challenge == "Bearer"


async def test_where_none_is_needed_anything_will_do(open_: Authenticator, made: CreatedKey) -> None:
    """OpenAI's client sends a key in any case."""
    for authorization in ([], [""], ["Bearer none"], ["Bearer sk-12345"], ["Basic x"], ["Token y"]):
        assert await open_.authenticate(authorization, [], HERE) == LOCAL


async def test_where_none_is_needed_one_of_ours_says_who_it_is(open_: Authenticator, made: CreatedKey) -> None:
    assert (await open_.authenticate([f"Bearer {made.secret}"], [], HERE)).user_id == "ada"
    with pytest.raises(Unauthorized):
        await open_.authenticate([f"Bearer {wrong_key()}"], [], HERE)


async def test_by_the_settings(by_settings: Authenticator) -> None:
    with pytest.raises(Unauthorized, match="API key"):
        await by_settings.authenticate([])
    made = await by_settings.keys.create("ada", ME, role="user")
    assert (await by_settings.authenticate([f"Bearer {made.secret}"])).user_id == "ada"


async def test_a_key_that_is_known_needs_no_other_task(closed: Authenticator, made: CreatedKey) -> None:
    """What takes microseconds on every request: it ends without once giving way."""
    headers = [f"Bearer {made.secret}"]
    await closed.authenticate(headers, [], HERE)
    with pytest.raises(StopIteration) as done:
        closed.authenticate(headers, [], HERE).send(None)
    assert done.value.value.user_id == "ada"
