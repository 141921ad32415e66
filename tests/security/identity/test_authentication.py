"""Authentication at every endpoint: with and without keys, in each way clients send them."""

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
async def created_key(keys: Keys) -> CreatedKey:
    return await keys.create("ada", ME, role="user")


@pytest.fixture
def key_required(keys: Keys) -> Authenticator:
    return Authenticator(keys, required=True)


@pytest.fixture
def key_optional(keys: Keys) -> Authenticator:
    return Authenticator(keys, required=False)


@pytest.fixture
async def configured(state: State) -> AsyncIterator[Authenticator]:
    settings = state.settings.model_copy(update={"access": AccessSettings(required="on")})
    authenticator = await Authenticator.open(State(state.database, state.objects, settings))
    yield authenticator
    await authenticator.close()


async def test_each_key_header_is_accepted(key_required: Authenticator, created_key: CreatedKey) -> None:
    basic = base64.b64encode(f"a1111:{created_key.secret}".encode()).decode()
    for authorization, api_key in (
        ([f"Bearer {created_key.secret}"], []),
        ([], [created_key.secret]),
        ([f"Basic {basic}"], []),
    ):
        assert (await key_required.authenticate(authorization, api_key, HERE)).user_id == "ada"


async def test_missing_or_wrong_key_returns_401(key_required: Authenticator, created_key: CreatedKey) -> None:
    for authorization in ([], [""], ["Bearer none"], [f"Bearer {wrong_key()}"], [created_key.secret], ["Basic x"]):
        with pytest.raises(Unauthorized) as refused:
            await key_required.authenticate(authorization, [], HERE)
        assert refused.value.status == 401
        assert refused.value.challenge == "Bearer"


async def test_optional_keys_ignore_foreign_credentials(key_optional: Authenticator, created_key: CreatedKey) -> None:
    """OpenAI's client sends a key in any case."""
    for authorization in ([], [""], ["Bearer none"], ["Bearer sk-12345"], ["Basic x"], ["Token y"]):
        assert await key_optional.authenticate(authorization, [], HERE) == LOCAL


async def test_optional_keys_identify_the_user(key_optional: Authenticator, created_key: CreatedKey) -> None:
    assert (await key_optional.authenticate([f"Bearer {created_key.secret}"], [], HERE)).user_id == "ada"
    with pytest.raises(Unauthorized):
        await key_optional.authenticate([f"Bearer {wrong_key()}"], [], HERE)


async def test_settings_decide_whether_keys_are_required(configured: Authenticator) -> None:
    with pytest.raises(Unauthorized, match="API key"):
        await configured.authenticate([])
    created_key = await configured.keys.create("ada", ME, role="user")
    assert (await configured.authenticate([f"Bearer {created_key.secret}"])).user_id == "ada"


async def test_cached_key_is_checked_without_suspending(key_required: Authenticator, created_key: CreatedKey) -> None:
    """A cached key is checked on every request in microseconds: the coroutine ends without suspending."""
    headers = [f"Bearer {created_key.secret}"]
    await key_required.authenticate(headers, [], HERE)
    with pytest.raises(StopIteration) as done:
        key_required.authenticate(headers, [], HERE).send(None)
    assert done.value.value.user_id == "ada"
