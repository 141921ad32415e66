"""No text from a client begins a line of the log (C-102)."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from collections.abc import Iterator

import pytest
from keyed_door import ME, keyed_site
from odd_requests import AttackRequest
from odd_values import BREAKS
from standin import StandIn
from whole_door import send_request, sockets

from serve.observability.logs import formats
from serve.security.identity import audit
from serve.security.identity.audit import Filters
from serve.state import State

FORGED = "\nERROR 2026-01-01 forged"
LINE = re.compile(r"(INFO|WARNING|ERROR|DEBUG) |    |Traceback \(most recent call last\):$")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The output of all loggers of a process, as the stack configures them."""
    before, stream = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    formats.install()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
    logging.setLogRecordFactory(before)


def lines(log: io.StringIO) -> list[str]:
    """All lines; each is the first of a record or indented."""
    all_lines = re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", log.getvalue())
    assert [line for line in all_lines if line and not LINE.match(line)] == []
    return all_lines


@pytest.mark.parametrize(
    "text", [*BREAKS, FORGED, f"a{FORGED}{FORGED}", "\r" + FORGED, "\u2029ERROR x", "a\x1c\x1d\x1eb"]
)
def test_record_is_one_line_with_indented_continuations(log: io.StringIO, text: str) -> None:
    logger = logging.getLogger("serve.somewhere")
    logger.warning("a model named %s", text)
    logger.warning(f"a model named {text}")
    logger.warning("%(name)s", {"name": text})
    logger.error("%s", ValueError(text))
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("it failed of %s", text)
    found = lines(log)
    assert len([line for line in found if LINE.match(line) and line[0] in "WE"]) == 5
    assert "\x1b" not in log.getvalue()


def test_plain_records_are_unchanged(log: io.StringIO) -> None:
    logging.getLogger("serve").warning("job %s: %d of %d, Äpfel", "a", 1, 2)
    assert log.getvalue() == "WARNING serve job a: 1 of 2, Äpfel\n"
    assert formats.indent_continuation_lines("a\nb") == "a\n    b"
    assert len(formats.indent_continuation_lines("\n" + "x" * 100_000)) < 30_000


class Failing(StandIn):
    """Fails with the text of the request."""

    async def infer(self, engine: str, *_: object, **__: object) -> dict[str, object]:
        raise RuntimeError(f"no such tensor: {FORGED}")


async def test_client_text_forges_no_log_line(state: State, log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, ids, names and headers; and the traceback of an unexpected error."""
    monkeypatch.setattr("keyed_door.StandIn", Failing)
    async with keyed_site(state) as site, sockets(site) as (host, port):
        key = (b"x-api-key", (await site.key("ada", "admin")).secret.encode())
        forged = b"%0aERROR%202026-01-01%20forged"
        tensor = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}'
        for request in (
            AttackRequest("GET", b"/none" + forged, [key]),
            AttackRequest("GET", b"/v1/jobs/" + forged + b"?cursor=" + forged, [key]),
            AttackRequest(
                "GET", b"/v1/jobs", [key, (b"x-request-id", b"a\nERROR forged"), (b"user-agent", b"\nERROR forged")]
            ),
            AttackRequest("POST", b"/api/admin/users", [key], b'{"id": "a\\nERROR forged"}'),
            AttackRequest(
                "POST", b"/v1/images/generations", [key], b'{"prompt": "a\\nERROR forged", "model": "\\nERROR"}'
            ),
            AttackRequest("GET", b"/v1/jobs", [(b"x-api-key", b"atl_\nERROR forged")]),
            AttackRequest("\nERROR", b"/" + forged, [key]),
            AttackRequest("POST", b"/v2/models/plus_one/infer", [key], tensor),
            AttackRequest("GET", b"/v2/models/" + forged, [key]),
        ):
            answer = await send_request(site.whole, request)
            assert answer.status is not None
            if request.body == tensor:
                assert answer.status == 500
                assert b"forged" not in answer.body
        await _over_a_socket(host, port)
    lines(log)


async def _over_a_socket(host: str, port: int) -> None:
    for text in (
        b"GET /a\rERROR HTTP/1.1\r\n\r\n",
        b"\nERROR forged\r\n\r\n",
        b"GET /%0aERROR HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(text)
        writer.write_eof()
        await reader.read()
        writer.close()


async def test_client_text_forges_no_audit_entry(state: State) -> None:
    async with keyed_site(state) as site, site.door((await site.key("root", "admin")).secret) as root:
        await audit.record_now(state.database, ME, "key.refused", FORGED, name=FORGED)
        await root.post("/api/admin/keys", json={"user_id": "root", "name": FORGED})
        found = (await audit.page(state.database, Filters())).items
        shown = (await root.get("/api/admin/audit")).json()["entries"]
    assert any("forged" in str(one) for one in found)
    for text in (str(one.subject) + str(one.details) for one in found):
        assert "\n" not in text
    assert "\n" not in "".join(
        str(one["subject"]) + "".join(map(str, (one["details"] or {}).values())) for one in shown
    )
