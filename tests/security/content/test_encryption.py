"""Encryption at rest of secrets, and the site's secret that derives the keys (A-120)."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from serve.errors import InvalidRequest, StateUnavailable
from serve.security.signing.secret_store import FILE, DecryptionFailed, SecretBox, keys_of, secret_box_of
from serve.settings import SecretsSettings, Settings, leaves, load

OLD, NEW = "o" * 32, "n" * 32
KEY = SecretStr("sk-outside-Ключ-1234")


def site(folder: Path, *keys: str) -> Settings:
    return Settings(state_dir=folder, secrets=SecretsSettings(keys=tuple(map(SecretStr, keys))))


def test_ciphertext_decrypts_only_in_its_own_context(tmp_path: Path) -> None:
    secret_box = secret_box_of(site(tmp_path, NEW))
    sealed = secret_box.encrypt(KEY, "outside:openai")
    assert sealed.isascii()
    assert "sk-outside" not in sealed
    assert sealed != secret_box.encrypt(KEY, "outside:openai")
    assert secret_box.decrypt(sealed, "outside:openai") == KEY
    assert "sk-" not in repr(secret_box.decrypt(sealed, "outside:openai"))
    with pytest.raises(DecryptionFailed):
        secret_box.decrypt(sealed, "outside:bedrock")


@pytest.mark.parametrize(
    "change", [lambda s: s[:-4] + "AAAA", lambda s: s[1:], lambda s: "", lambda s: "ä", lambda s: s[1:] + s[:1]]
)
def test_modified_ciphertext_fails_to_decrypt(tmp_path: Path, change: object) -> None:
    assert callable(change)
    secret_box = secret_box_of(site(tmp_path, NEW))
    sealed = change(secret_box.encrypt(KEY, "a"))
    for use in (secret_box.decrypt, secret_box.reencrypt):
        with pytest.raises(DecryptionFailed) as caught:
            use(sealed, "a")
        assert caught.value.__cause__ is None
        assert "sk-" not in str(caught.value)


def test_key_rotation_in_three_steps(tmp_path: Path) -> None:
    sealed = secret_box_of(site(tmp_path, OLD)).encrypt(KEY, "a")
    both = secret_box_of(site(tmp_path, NEW, OLD))
    assert both.decrypt(sealed, "a") == KEY
    again = both.reencrypt(sealed, "a")
    assert secret_box_of(site(tmp_path, NEW)).decrypt(again, "a") == KEY
    with pytest.raises(DecryptionFailed):
        secret_box_of(site(tmp_path, NEW)).decrypt(sealed, "a")


def test_oversized_secret_and_empty_key_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long"):
        secret_box_of(site(tmp_path, NEW)).encrypt(SecretStr("x" * 20_000), "a")
    with pytest.raises(ValueError, match="needed"):
        SecretBox([])


def test_site_without_a_secret_creates_one(tmp_path: Path) -> None:
    settings = site(tmp_path / "state")
    with ThreadPoolExecutor(8) as threads:
        distinct_keys = set(threads.map(lambda _: keys_of(settings, "links"), range(32)))
    assert len(distinct_keys) == 1, "all processes have the same"
    file = settings.state_dir / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in settings.state_dir.iterdir()] == [FILE]
    assert distinct_keys != {keys_of(settings, "vault")}, "each purpose has its own"
    assert distinct_keys != {keys_of(site(tmp_path / "other"), "links")}


def test_unreadable_secret_file_raises_state_unavailable(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("short")
    with pytest.raises(StateUnavailable, match="damaged"):
        keys_of(site(tmp_path), "links")
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnavailable, match="cannot be used"):
        keys_of(site(tmp_path / "file"), "links")


def test_short_secret_is_refused_and_secrets_are_masked() -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(secrets={"keys": [NEW, "hunter2"]})
    assert caught.value.field == "secrets.keys"
    assert "hunter2" not in str(caught.value)
    settings = load(secrets={"keys": [NEW]})
    assert NEW not in repr(settings)
    assert all(NEW not in str(one.value) for one in leaves(settings))
