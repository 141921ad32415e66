"""Users of HTTP: one connection each, requests and answers as bytes, JSON and server-sent events."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from geventhttpclient import HTTPClient
from urllib3 import encode_multipart_formdata

from loadtests.load.answers import Wrong
from loadtests.load.users.load_user import TIMEOUT_S, LoadUser

CACHE_WORD, BYPASS = "x-atelier-cache", "bypass"
IDLE_S = 5.0
"""A connection that rested longer is opened anew: the other side may be closing it."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        payload = json.loads(self.body)
        if not isinstance(payload, dict):
            raise Wrong("JSON that is no object")
        return payload


@dataclass(frozen=True)
class Event:
    """``at_s``: on ``time.perf_counter``."""

    name: str
    data: str
    at_s: float


class WebUser(LoadUser):
    abstract = True

    def on_start(self) -> None:
        super().on_start()
        self.web = self._connected()
        self.authority = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._used_at = time.monotonic()

    def on_stop(self) -> None:
        self.web.close()

    def _connected(self) -> HTTPClient:
        return HTTPClient.from_url(self.host, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S)

    def send(
        self, method: str, target: str, body: bytes | dict[str, Any] = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises ``Wrong`` for a status that is not of success."""
        kind = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        answer = self._request(method, target, data, {**self.authority, **kind, **(headers or {})})
        payload = {name.lower(): value for name, value in answer.headers}
        reply = Reply(answer.status_code, payload, bytes(answer.read()))
        refuse(reply)
        self._note_cache(payload)
        return reply

    def _note_cache(self, headers: Mapping[str, str]) -> None:
        if word := headers.get(CACHE_WORD):
            self.notes.cache[word] += 1
            self.made(word == BYPASS)

    def made(self, made: bool) -> None:
        """Whether an answer was ``made`` for who asks. Raises ``Wrong`` where each is to be work and one is not."""
        if self.requests.anew and not made:
            raise Wrong("an answer that was not made for this request")

    def _request(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Any:
        rested_s, self._used_at = time.monotonic() - self._used_at, time.monotonic()
        if rested_s > IDLE_S:
            self.web.close()
            self.web = self._connected()
        return self.web.request(method, target, body=body, headers=headers)

    def form(self, target: str, image: bytes, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        body, kind = encode_multipart_formdata({**fields, "image": ("picture.png", image, "image/png")})
        return self.send("POST", target, body, {**headers, "Content-Type": kind})

    @contextlib.contextmanager
    def events(
        self, method: str, target: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[Event]]:
        """Server-sent events as they come. The connection is closed when nobody reads on."""
        sent = {**self.authority, "Accept": "text/event-stream", "Content-Type": "application/json", **(headers or {})}
        answer = self._request(method, target, json.dumps(body).encode() if body else b"", sent)
        try:
            if answer.status_code != 200:
                refuse(Reply(answer.status_code, {}, bytes(answer.read())))
            self._note_cache({name.lower(): value for name, value in answer.headers})
            yield _events(partial(answer.readline, b"\n\n"))
        finally:
            answer.release()

    def file(self, url: str) -> bytes:
        """What is at an address that an answer told, asked of the host that is under load."""
        where = urlsplit(url)
        return self.send("GET", f"{where.path}?{where.query}" if where.query else where.path).body


def refuse(reply: Reply) -> None:
    """Raises ``Wrong`` with the status, and the words of whichever vocabulary, cut where they begin to differ."""
    if reply.status < 300:
        return
    with contextlib.suppress(ValueError):
        payload = json.loads(reply.body)
        error = payload.get("error", payload) if isinstance(payload, dict) else payload
        words = error.get("detail") or error.get("message") if isinstance(error, dict) else error
        raise Wrong(f"{reply.status}: {words}"[:160])
    raise Wrong(f"{reply.status}, not JSON")


def _events(read: Callable[[], bytes]) -> Iterator[Event]:
    """``read`` gives the text of one event, as soon as it is there, and nothing at the end."""
    while text := read():
        event = _event(text.decode())
        if event is not None:
            yield event


def _event(text: str) -> Event | None:
    """None for a comment, which only keeps the connection."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name:
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
    if "data" not in fields:
        return None
    return Event(fields.get("event", "message"), fields["data"], time.perf_counter())
