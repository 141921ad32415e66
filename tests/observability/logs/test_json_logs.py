"""JSON logs: what is written, where, and by which fields it is found (C-093)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keyed_door import CLIENT, keyed_site
from standin import StandIn

from serve.cluster.ray_environment import ray_environment
from serve.observability import logs, tracing
from serve.observability.logs.console import Errors, console_errors
from serve.observability.tracing import export
from serve.settings import LogsSettings, Settings, TracingSettings
from serve.state import State
from tests.attacks.odd_values import BREAKS

ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restores the configuration of `logging` afterwards."""
    root, serve_logger, rays = (logging.getLogger(name) for name in (None, "serve", "ray.serve"))
    before = (
        list(root.handlers),
        list(rays.handlers),
        serve_logger.level,
        logging.raiseExceptions,
        logging.getLogRecordFactory(),
    )
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], rays.handlers[:] = before[0], before[1]
    serve_logger.setLevel(before[2])
    logging.raiseExceptions = before[3]
    logging.setLogRecordFactory(before[4])


def settings(state_dir: Path, **values: Any) -> Settings:
    return Settings(state_dir=state_dir, logs=LogsSettings(**{"format": "json", **values}))


def lines(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "logs").glob("*.log")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("restored_logging")
def test_record_is_a_json_object(tmp_path: Path) -> None:
    logs.install(settings(tmp_path), "Gateway", "abc")
    with tracing.entry_span("request", {"request_id": "r-1"}):
        logging.getLogger("serve.somewhere").info("job %s", "x", extra={"fields": {"status": 200}})
    (entry,) = lines(tmp_path)
    assert datetime.now().astimezone() - datetime.fromisoformat(entry.pop("time")) < timedelta(seconds=20)
    assert entry == {
        "level": "INFO", "logger": "serve.somewhere", "message": "job x", "component": "Gateway", "replica": "abc",
        "request_id": "r-1", "status": 200,
    }  # fmt: skip


@pytest.mark.usefixtures("restored_logging")
def test_record_has_its_trace_id(tmp_path: Path) -> None:
    logs.install(settings(tmp_path), "Gateway", "abc")
    export.start(TracingSettings(endpoint="http://127.0.0.1:1", timeout_s=0.1), "Tests")
    with tracing.entry_span("request", {"traceparent": f"00-{ID}-b7ad6b7169203331-01"}):
        logging.getLogger("serve").warning("careful")
        own = tracing.response()
    export.stop()
    entry = lines(tmp_path)[0]
    assert own == f"00-{entry['trace_id']}-{entry['span_id']}-01"
    assert entry["trace_id"] == ID


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("text", [*BREAKS, '\n{"level": "ERROR"}', '"}\nERROR x', "\ud800"])
def test_any_message_is_one_line(tmp_path: Path, text: str, form: str) -> None:
    logs.install(settings(tmp_path, format=form), "Gateway", "abc")
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("serve").exception("a model named %s", text)
    (path,) = (tmp_path / "logs").iterdir()
    written = path.read_text()
    if form == "json":
        (entry,) = lines(tmp_path)
        assert entry["exception"].startswith("Traceback")
    first, *rest = re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", written.rstrip("\n"))
    assert first.startswith("ERROR " if form == "text" else '{"time"')
    assert all(line.startswith(("    ", "Traceback (most")) for line in rest)


@pytest.mark.usefixtures("restored_logging")
def test_errors_are_also_on_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.install(settings(tmp_path, level="WARNING"), "Gateway")
    for name in ("serve", "somebody.else"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "as loud as %d", level)
    assert [(entry["logger"], entry["level"]) for entry in lines(tmp_path)] == [
        (name, level) for name in ("serve", "somebody.else") for level in ("WARNING", "ERROR")
    ]
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == ["ERROR", "ERROR"]


@pytest.mark.usefixtures("restored_logging")
def test_container_logs_everything_to_its_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.install(settings(tmp_path, console=True), "Gateway")
    logging.getLogger("serve.requests").info("answered")
    logging.getLogger("uvicorn.access").info("GET /v1/results/1?signature=2")
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(entry["level"], entry["message"]) for entry in written] == [("INFO", "answered")]
    assert written == lines(tmp_path)
    environment = ray_environment(settings(tmp_path, console=True))
    assert environment["RAY_LOG_TO_STDERR"] == "1", "else Ray puts what replicas print into files of its own"
    assert "RAY_LOG_TO_STDERR" not in ray_environment(settings(tmp_path))


class Terminal(io.StringIO):
    """A stream that is not a file on a disk."""


def test_console_is_shared_with_child_processes_or_shows_their_errors(tmp_path: Path) -> None:
    """Each record once in either case. A file, which has no size limit, gets only the stack's own records."""
    own = settings(tmp_path, console=True)
    with console_errors(own, Terminal()) as changed:
        assert changed.logs.console
        assert [one.name for one in threading.enumerate() if one.name == "errors"] == []
    with console_errors(settings(tmp_path), Terminal()) as changed:
        assert not changed.logs.console
        assert [one.name for one in threading.enumerate() if one.name == "errors"] == ["errors"]
    with (tmp_path / "atelier.log").open("w") as file, console_errors(own, file) as changed:
        assert not changed.logs.console


@pytest.mark.usefixtures("restored_logging")
def test_only_warnings_of_other_libraries_are_logged(tmp_path: Path) -> None:
    """Their information has addresses and paths."""
    logs.install(settings(tmp_path, level="DEBUG"), "Gateway")
    for name in ("uvicorn.access", "httpx", "served"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).info("203.0.113.9 GET /v1/results/1?signature=2")
    assert lines(tmp_path) == []


@pytest.mark.usefixtures("restored_logging")
def test_log_files_are_bounded(tmp_path: Path) -> None:
    own = settings(tmp_path, max_file_bytes=65_536, old_files=2, max_files=6)
    for process in range(9):
        logs.install(own, "Gateway", str(process))
        for _ in range(700 if process == 8 else 1):
            logging.getLogger("serve").info("x" * 400)
    found = list((tmp_path / "logs").iterdir())
    assert len(found) <= 6
    assert all(path.stat().st_size <= 65_536 for path in found)
    assert {path.name for path in found} >= {"Gateway-8.log", "Gateway-8.log.1", "Gateway-8.log.2", "Gateway-7.log"}


@pytest.mark.usefixtures("restored_logging")
def test_removed_log_file_is_created_again(tmp_path: Path) -> None:
    logs.install(settings(tmp_path), "Gateway", "a")
    logging.getLogger("serve").info("one")
    (tmp_path / "logs" / "Gateway-a.log").unlink()
    logging.getLogger("serve").info("two")
    assert [entry["message"] for entry in lines(tmp_path)] == ["two"]


@pytest.mark.usefixtures("restored_logging")
def test_unusable_log_folder_leaves_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    logs.install(settings(tmp_path, folder=tmp_path / "file" / "logs"), "Gateway")
    logging.getLogger("serve").info("still here")
    levels = [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()]
    assert levels == ["ERROR", "INFO"]


class Failing(StandIn):
    async def infer(self, engine: str, *_: object, **__: object) -> dict[str, object]:
        raise RuntimeError("nobody foresaw it")


@pytest.mark.usefixtures("restored_logging")
async def test_request_is_logged_with_the_id_in_its_response(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has nothing of the user's: the template of the path, and the id of a key."""
    monkeypatch.setattr("keyed_door.StandIn", Failing)
    logs.install(settings(tmp_path), "Gateway", "a")
    state = await State.open(Settings(state_dir=tmp_path))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    async with keyed_site(state) as site:
        made = await site.key("ada.lovelace")
        async with site.door(made.secret) as door:
            failed = await door.post("/v2/models/plus_one/infer", json={"inputs": [tensor]})
            missing = await door.get(f"/v1/jobs/{'9' * 32}?signature=zanzibar", headers={"x-request-id": "mine-7"})
            await door.get("/health/live")
    await state.close()
    entries = lines(tmp_path)
    mine = [one for one in entries if one.get("request_id") == failed.headers["x-request-id"]]
    assert failed.status_code == 500
    assert any("nobody foresaw it" in one.get("exception", "") for one in mine)
    (record,) = [one for one in entries if one.get("request_id") == "mine-7"]
    assert (missing.status_code, missing.headers["x-request-id"]) == (404, "mine-7")
    assert record["duration_ms"] > 0
    assert {name: record[name] for name in ("logger", "level", "method", "route", "status", "key_id", "bytes")} == {
        "logger": "serve.requests", "level": "INFO", "method": "GET", "route": "/v1/jobs/{job_id}", "status": 404,
        "key_id": made.key.id, "bytes": len(missing.content),
    }  # fmt: skip
    assert len([one for one in entries if "route" in one]) == 2, "probes are no records"
    whole = json.dumps(entries)
    assert [one for one in ("zanzibar", "ada.lovelace", "9999", made.secret, CLIENT) if one in whole] == []


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.usefixtures("restored_logging")
def test_console_shows_new_records_and_errors(tmp_path: Path, form: str) -> None:
    logger = logging.getLogger("serve")
    logs.install(settings(tmp_path, format=form), "Worker", "a")
    logger.error("before")
    errors = Errors(tmp_path / "logs")
    logger.warning('not {"level":"ERROR"}' if form == "json" else "no ERROR ")
    logger.info("nor ERROR this")
    assert errors.poll() == []
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logger.exception("it failed")
    logs.install(settings(tmp_path, format=form), "Worker", "b")
    logger.error("elsewhere")
    logger.info("and on")
    shown = errors.poll()
    assert "it failed" in shown[0]
    assert "why" in "".join(shown)
    assert "elsewhere" in shown[-1]
    assert errors.poll() == []
    for _ in range(80):
        logger.error("many")
    assert len(errors.poll()) == 51


async def test_concurrent_tasks_have_separate_request_ids() -> None:
    async def one(name: str) -> str:
        with tracing.entry_span(name, {"request_id": name}):
            await asyncio.sleep(0.001)
            return tracing.current().request_id

    names = [f"r{i}" for i in range(20)]
    assert await asyncio.gather(*map(one, names)) == names


def test_text_has_the_id_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.TextLines("Gateway", "a"))
    with tracing.entry_span("request", {"request_id": "r-1"}):
        handler.handle(logging.LogRecord("serve.x", logging.INFO, __file__, 1, "told %s", ("it",), None))
    assert re.fullmatch(r"INFO \S+Z Gateway/a r-1 serve\.x: told it\n", stream.getvalue())


def test_log_folder_follows_settings(tmp_path: Path) -> None:
    assert logs.log_folder(Settings(state_dir=tmp_path)) == tmp_path / "logs"
    assert logs.log_folder(settings(tmp_path, folder=tmp_path / "a")) == tmp_path / "a"
    assert os.path.isabs(logs.log_folder(Settings()))
