"""When keys are required, and that nothing listens on other addresses without them by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve.cli.main import app
from serve.errors import InvalidRequest
from serve.security.identity.authentication import is_key_required
from serve.settings import Settings, load

LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "localhost"]
BEYOND = ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1", "atelier.example", "", "LOCALHOST", "127.0.0.1.example", "0"]


def settings_for(host: str, **access: object) -> Settings:
    return load(http={"host": host}, access=access)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_requires_no_key_unless_set(host: str) -> None:
    assert not is_key_required(settings_for(host))
    assert not is_key_required(settings_for(host, required="off"))
    assert is_key_required(settings_for(host, required="on"))


@pytest.mark.parametrize("host", BEYOND)
def test_other_addresses_require_keys(host: str) -> None:
    assert is_key_required(settings_for(host))
    with pytest.raises(InvalidRequest) as refused:
        settings_for(host, required="off")
    assert refused.value.field == "access"
    assert "atelier keys create --role admin" in refused.value.message
    assert not is_key_required(settings_for(host, required="off", insecure=True))
    assert is_key_required(settings_for(host, insecure=True)), "to allow it is not to do it"


@pytest.mark.parametrize("url", ["https://art.example", "http://192.0.2.7:80/", "http://[", "nothing"])
def test_public_url_requires_keys(url: str) -> None:
    assert is_key_required(load(http={"public_url": url}))
    with pytest.raises(InvalidRequest, match="INSECURE"):
        load(http={"public_url": url}, access={"required": "off"})
    assert not is_key_required(load(http={"public_url": url}, access={"required": "off", "insecure": True}))
    assert not is_key_required(load(http={"public_url": "http://localhost:8000/x"}))


@pytest.mark.parametrize(("written", "required"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("auto", "auto")])
def test_yaml_booleans_become_on_and_off(
    written: str, required: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_CONFIG", "")  # restored afterwards: `load` sets it
    site = tmp_path / "site.yaml"
    site.write_text(f"access:\n  required: {written}\n")
    assert load(site).access.required == required


def test_short_secret_is_refused_and_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="openssl"):
        load(secrets={"keys": ["short"]})
    secret = "a-secret-that-is-long-enough-for-anybody"
    monkeypatch.setenv("ATELIER_SECRETS__KEYS", json.dumps([secret]))
    shown = CliRunner().invoke(app, ["settings", "--json"])
    assert json.loads(shown.stdout)["secrets"]["keys"] == ["**********"]
    assert secret not in repr(load())


def test_stack_without_usable_keys_does_not_start(tmp_path: Path) -> None:
    environment = {"ATELIER_STATE_DIR": str(tmp_path), "ATELIER_HTTP__HOST": "0.0.0.0", "ATELIER_CONFIG": ""}
    refused = CliRunner().invoke(app, ["up"], env=environment)
    assert refused.exit_code == 3
    assert "atelier keys create --role admin" in refused.stderr
    refused = CliRunner().invoke(app, ["up"], env={**environment, "ATELIER_ACCESS__REQUIRED": "off"})
    assert refused.exit_code == 2
    assert "atelier keys create --role admin" in refused.stderr
