"""Secrets are in no error, log, repr or command line (C-102)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import traceback
from pathlib import Path
from typing import Any

import grpc
import pytest
from keyed_door import keyed_site
from odd_requests import AttackRequest
from pydantic import SecretStr
from tritonclient.grpc import service_pb2 as pb
from typer.testing import CliRunner
from whole_door import calls, send_request

from serve.cli.main import app
from serve.engines.triton import installation
from serve.errors import AtelierError, InvalidRequest
from serve.security.limits.counters import redis_storage
from serve.settings import ObjectsSettings, RatesSettings, Settings, leaves, load
from serve.state import State
from serve.state.database import database_url
from serve.state.objects.stores import open_store

WORD = "hunter2hunter2hunter2hunter2hunter2"
SIGNING = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
SECRETS: dict[str, Any] = {
    "proxy": {"token": WORD},
    "rates": {"redis_url": f"redis://:{WORD}@127.0.0.1:1/0"},
    "database": {"url": f"postgresql://ada:{WORD}@127.0.0.1:1/atelier"},
    "objects": {"url": "s3://pictures", "options": {"aws_access_key_id": "ada", "aws_secret_access_key": WORD}},
    "webhooks": {"secret": SIGNING},
    "secrets": {"keys": [WORD, WORD[::-1]]},
    "access": {"key": f"atl_{'0' * 16}_{WORD[:30]}000000"},
    "backup": {"options": {"aws_secret_access_key": WORD}},
    "director": {"api_key": WORD},
    "tracing": {"headers": {"authorization": f"Bearer {WORD}"}},
}


def has_secret(text: str) -> bool:
    return "hunter2" in text or WORD[::-1][:12] in text or SIGNING[6:] in text


def test_every_secret_setting_is_covered() -> None:
    """A new secret setting has to be added above."""
    secret = {leaf.name for leaf in leaves(Settings.model_construct()) if _is_secret(leaf.name)}
    assert secret == {f"{section}.{name}" for section, names in SECRETS.items() for name in names} - {"objects.url"}


def _is_secret(name: str) -> bool:
    section, _, rest = name.partition(".")
    field = Settings.model_fields[section].annotation
    return bool(rest) and "SecretStr" in str(getattr(field, "model_fields", {}).get(rest, ""))


def test_settings_output_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(**SECRETS)
    shown = [
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        str(settings.model_dump()),
        repr(list(leaves(settings))),
    ]
    for name, values in SECRETS.items():
        for field, value in values.items():
            monkeypatch.setenv(
                f"ATELIER_{name}__{field}".upper(), value if isinstance(value, str) else json.dumps(value)
            )
    for arguments in (["settings"], ["settings", "--json"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
        shown.append(done.stdout)
    assert [text for text in shown if has_secret(text)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"secrets": {"keys": ["hunter2"]}}, {"secrets": {"keys": "hunter2"}}, {"webhooks": {"secret": "hunter2"}},
        {"database": {"url": ["hunter2"]}}, {"objects": {"options": "hunter2"}}, {"proxy": {"token": {"hunter2": 1}}},
        {"backup": {"options": {"key": ["hunter2"]}}}, {"access": {"key": 2, "required": "hunter2"}},
    ],
)  # fmt: skip
def test_setting_errors_contain_no_secret(wrong: dict[str, Any]) -> None:
    """Nor its traceback, which a replica that fails to start logs."""
    with pytest.raises(InvalidRequest) as caught:
        load(**wrong)
    assert not has_secret("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize(
    "text", ["database: {url: 'hunter2", "a: hunter2: b", "hunter2\t: [", "- hunter2: [}", "&hunter2 *x"]
)
def test_settings_file_errors_contain_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ATELIER_CONFIG", "")  # set by the code below
    site = tmp_path / "site.yaml"
    site.write_text(f"http: {{port: 1}}\n{text}\n")
    with pytest.raises(InvalidRequest) as caught:
        load(site)
    assert not has_secret("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize(
    "url",
    [f"s3://ada:{WORD}@bucket", f"az://container?sig={WORD}", f"https://ada:{WORD}@127.0.0.1", f"nfs://{WORD}:x@a"],
)
def test_store_url_with_credentials_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_store(ObjectsSettings(url=url), tmp_path)
    assert not has_secret(str(caught.value))


def test_database_and_redis_errors_contain_no_password() -> None:
    for url in (f"mysql://ada:{WORD}@a/b", f"{WORD}", f"postgresql://a:{WORD}/b"):
        with pytest.raises(InvalidRequest) as caught:
            database_url(load(database={"url": url}))
        assert not has_secret("".join(traceback.format_exception(caught.value)))
    for url in (f"http://:{WORD}@a", f"redis://:{WORD}@a:x/0"):
        with pytest.raises(InvalidRequest) as caught:
            redis_storage(RatesSettings(redis_url=SecretStr(url)))
        assert not has_secret(str(caught.value))


async def test_database_outage_logs_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    settings = load(**{name: SECRETS[name] for name in ("database", "secrets", "webhooks")})
    with caplog.at_level(logging.DEBUG), pytest.raises(AtelierError) as caught:
        await State.open(settings)
    assert not has_secret("".join(traceback.format_exception(caught.value)))
    assert not has_secret(caplog.text)


async def test_responses_and_logs_contain_no_key(state: State, caplog: pytest.LogCaptureFixture) -> None:
    """A valid key, an invalid one, and keys in the wrong place."""
    async with keyed_site(state) as site, calls(site) as address:
        key = (await site.key("ada")).secret
        wrong = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"
        with caplog.at_level(logging.DEBUG):
            for one in (key, wrong):
                for request in _misplaced(one):
                    answer = await send_request(site.whole, request)
                    assert answer.status is not None
                    assert answer.status < 500
                    assert one not in answer.body.decode() + str(answer.headers), request.describe()
            await _grpc(address, wrong)
    assert caplog.records
    assert [
        record.getMessage() for record in caplog.records if key in record.getMessage() or wrong in record.getMessage()
    ] == []


def _misplaced(key: str) -> list[AttackRequest]:
    text = key.encode()
    own = (b"authorization", b"Bearer " + text)
    body = json.dumps({"prompt": 7, "authorization": key}).encode()
    return [
        AttackRequest("GET", b"/v1/jobs", [own]),
        AttackRequest("GET", b"/v1/jobs", [own, (b"x-api-key", text + b"x")]),
        AttackRequest("GET", b"/v1/jobs", [(b"authorization", b"Beaver " + text)]),
        AttackRequest("POST", b"/v1/jobs", [own], body),
        AttackRequest("GET", b"/v1/jobs", [(b"authorization", text)]),
        AttackRequest("POST", b"/v2/models/x/infer", [own], b"{"),
        AttackRequest("POST", b"/v1/images/generations", [own], b'{"prompt": 7}'),
        AttackRequest("GET", b"/v1/results/x", [own]),
    ]


async def _grpc(address: str, key: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(pb.ModelInferRequest(model_name="x").SerializeToString(), metadata=[("x-api-key", key)])
        assert key not in str(refused.value)


def test_triton_command_and_environment_have_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATELIER_DATABASE__URL", SECRETS["database"]["url"])
    monkeypatch.setenv("ATELIER_SECRETS__KEYS", json.dumps([WORD]))
    found = installation.find()
    named: dict[str, Any] = {"repository": tmp_path, "engines": ["a"], "backends": tmp_path, "shm_prefix": "x"}
    named |= {"ports": installation.Ports(1, 2, 3), "http_key": None}
    command = installation.command(found, **named, host="127.0.0.1", load_threads=1, stub_timeout_s=1)
    environment = installation.environment(found, 2, tmp_path)
    assert not has_secret(str(command) + str(environment))
    assert {name for name in environment if name.startswith("ATELIER_")} == {
        installation.THREADS_VARIABLE,
        installation.ADAPTERS_VARIABLE,
    }


async def test_haproxy_environment_has_only_the_token(tmp_path: Path) -> None:
    """The script executes haproxy: the substitute prints its arguments and environment."""
    binary = tmp_path / "haproxy"
    binary.write_text('#!/bin/sh\ntr "\\0" "\\n" < /proc/$$/cmdline\nenv\n')
    binary.chmod(0o755)
    secret_variables = {
        f"ATELIER_{name}".upper(): WORD for name in ("database__url", "secrets__keys", "objects__options")
    }
    own_variables = {"HAPROXY_BINARY": str(binary), "ATELIER_PROXY__TOKEN": "the token", "PATH": os.environ["PATH"]}
    own_variables["HAPROXY_OWN_HOST"] = "127.0.0.1"
    script = Path(__file__).parents[2] / "deployments" / "haproxy"
    done = await asyncio.to_thread(
        subprocess.run,
        [script, "-x"],
        env={**secret_variables, **own_variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "ATELIER_PROXY__TOKEN=the token" in done.stdout
    assert not has_secret(done.stdout)
    assert "the token" not in done.stdout.partition("\n-x\n")[0]
