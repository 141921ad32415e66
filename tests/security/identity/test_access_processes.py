"""Several processes: they share one site secret, and a key revoked in one is refused in all."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve.errors import StateUnavailable, Unauthorized
from serve.security.identity.keys import Keys
from serve.security.signing.secret_store import FILE, _create, keys_of
from serve.settings import AccessSettings, SecretsSettings, Settings
from serve.state import State

HOME = Path(__file__).parents[3]
SECRET = """
import sys
from pathlib import Path
from serve.security.signing.secret_store import keys_of
from serve.settings import Settings

settings = Settings(state_dir=Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(keys_of(settings, 'test')[0].hex())
"""


def test_processes_started_together_share_one_secret(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    command = [sys.executable, "-c", SECRET, str(folder)]
    started = [
        subprocess.Popen(command, cwd=HOME, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    secrets = {process.communicate(timeout=60)[0].strip() for process in started}
    assert secrets == {keys_of(Settings(state_dir=folder), "test")[0].hex()}
    assert len(next(iter(secrets))) == 64
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_second_create_keeps_the_first_secret(tmp_path: Path) -> None:
    """Both processes found no file."""
    _create(tmp_path / FILE)
    first = (tmp_path / FILE).read_bytes()
    _create(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_secrets_from_settings_write_no_file(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, secrets=SecretsSettings(keys=("x" * 32, "y" * 32)))  # type: ignore[arg-type]
    assert len(set(keys_of(settings, "test"))) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 43, b"+" * 43, b"a" * 44])
def test_damaged_secret_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StateUnavailable, match="damaged"):
        keys_of(Settings(state_dir=tmp_path), "test")
    assert (tmp_path / FILE).read_bytes() == content


def test_unwritable_folder_raises_state_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnavailable, match=FILE):
        keys_of(Settings(state_dir=tmp_path / "file"), "test")


async def atelier(settings: Settings, *arguments: str) -> str:
    """Stdout of the command, run in its own process against the same site."""
    assert settings.database.url is not None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serve.cli.main", *arguments),
        cwd=HOME,
        env={
            **os.environ,
            "ATELIER_DATABASE__URL": settings.database.url.get_secret_value(),
            "ATELIER_STATE_DIR": str(settings.state_dir),
            "ATELIER_CONFIG": "",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


@pytest.mark.slow
@pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)  # each command imports much
async def test_keys_command_changes_apply_to_a_running_process(state: State) -> None:
    settings = state.settings.model_copy(update={"access": AccessSettings(cache_s=0.2)})
    keys = await Keys.open(State(state.database, state.objects, settings))
    secret = (await atelier(settings, "keys", "create", "--role", "admin")).removesuffix("\n")
    principal = await keys.authenticate(secret)
    assert principal.has_scope("admin")
    assert principal.key_id is not None
    for disable_command, enable_command, reason in (
        (["users", "disable", "admin"], ["users", "enable", "admin"], "disabled"),
        (["keys", "revoke", principal.key_id], None, "revoked"),
    ):
        await atelier(settings, *disable_command)
        await asyncio.sleep(0.2)  # as long as a lookup is cached
        with pytest.raises(Unauthorized, match=reason):
            await keys.authenticate(secret)
        if enable_command is not None:
            await atelier(settings, *enable_command)
            await asyncio.sleep(0.2)
            await keys.authenticate(secret)
    await keys.close()
