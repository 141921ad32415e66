"""API keys of external services (F 12): encrypted in the database, never shown, never a command-line argument."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from typer.testing import CliRunner

from serve.cli.main import app
from serve.errors import InvalidRequest, NotFound
from serve.security.identity.audit import Actor
from serve.security.signing.secret_store import DecryptionFailed, SecretStore
from serve.settings import DatabaseSettings, SecretsSettings
from serve.state import State
from serve.state.tables import audit, sealed_secrets

ME, KEY = Actor(user_id="root"), "sk-very-secret"


async def test_secret_is_stored_encrypted_and_read_back(state: State) -> None:
    store = SecretStore(state)
    await store.set("cloud", SecretStr("old"), ME)
    await store.set("cloud", SecretStr(KEY), ME)
    assert (await SecretStore(state).get("cloud")).get_secret_value() == KEY
    assert [one.name for one in await store.list()] == ["cloud"]
    async with state.database.read() as connection:
        sealed = await connection.scalar(sa.select(sealed_secrets.c.sealed))
        entries = (await connection.execute(sa.select(audit))).all()
    assert KEY not in sealed
    assert KEY not in str(entries)
    assert [(row.action, row.subject) for row in entries] == [("secret.set", "cloud")] * 2
    await store.remove("cloud", ME)
    for missing in (store.get("cloud"), store.remove("cloud", ME)):
        with pytest.raises(NotFound):
            await missing


async def test_renamed_row_fails_to_decrypt(state: State) -> None:
    store = SecretStore(state)
    await store.set("one", SecretStr(KEY), ME)
    async with state.database.write() as connection:
        await connection.execute(sa.update(sealed_secrets).values(name="other"))
    with pytest.raises(DecryptionFailed):
        await store.get("other")


def with_secrets(state: State, *keys: str) -> SecretStore:
    secrets = SecretsSettings(keys=tuple(map(SecretStr, keys)))
    return SecretStore(replace(state, settings=state.settings.model_copy(update={"secrets": secrets})))


async def test_reencrypted_secrets_do_not_need_the_old_key(state: State) -> None:
    old, new = "o" * 32, "n" * 32
    for name in ("one", "two"):
        await with_secrets(state, old).set(name, SecretStr(KEY), ME)
    assert await with_secrets(state, new, old).reseal(ME) == 2
    assert (await with_secrets(state, new).get("two")).get_secret_value() == KEY
    with pytest.raises(DecryptionFailed):
        await with_secrets(state, old).get("one")
    await with_secrets(state, old).set("one", SecretStr(KEY), ME)
    with pytest.raises(DecryptionFailed) as caught:
        await with_secrets(state, new).reseal(ME)
    assert caught.value.field == "one"
    assert (await with_secrets(state, new).get("two")).get_secret_value() == KEY
    async with state.database.read() as connection:
        entries = (await connection.execute(sa.select(audit.c.action, audit.c.subject))).all()
    assert [row.subject for row in entries if row.action == "secret.reseal"] == ["one", "two"]


@pytest.mark.parametrize(("name", "secret"), [("", "x"), ("A", "x"), ("a/b", "x"), ("a" * 41, "x"), ("a", "")])
async def test_invalid_names_and_secrets_are_refused(state: State, name: str, secret: str) -> None:
    with pytest.raises(InvalidRequest):
        await SecretStore(state).set(name, SecretStr(secret), ME)


def test_secrets_commands(database_settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database_settings.url
    assert url is not None
    monkeypatch.setenv("ATELIER_DATABASE__URL", url.get_secret_value())
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    run = CliRunner()
    done = run.invoke(app, ["secrets", "set", "cloud"], input=f"{KEY}\n")
    assert (done.exit_code, KEY in done.output) == (0, False)
    for bad in ("", "\n", "two\nlines", "x" * 20_000, "é"):
        refused = run.invoke(app, ["secrets", "set", "bad"], input=bad)
        assert refused.exit_code == 2, bad[:10]
    assert run.invoke(app, ["secrets", "set", "cloud", KEY]).exit_code == 2, "not as an argument"
    listed = run.invoke(app, ["secrets", "list", "--json"]).output
    assert [one["name"] for one in json.loads(listed)] == ["cloud"]
    assert "cloud" in run.invoke(app, ["secrets", "list"]).output
    assert "1 sealed with the newest secret" in run.invoke(app, ["secrets", "reseal"]).output
    assert run.invoke(app, ["secrets", "remove", "cloud"]).exit_code == 0
    assert run.invoke(app, ["secrets", "remove", "cloud"]).exit_code == 2
