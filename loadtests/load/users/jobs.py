"""The queue: a job is asked for, waited for, and its result fetched."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import gevent

from loadtests.load import answers
from loadtests.load.answers import Wrong
from loadtests.load.requests import Conversion, Illustration
from loadtests.load.users.asking import TIMEOUT_S
from loadtests.load.users.web import Event, Reply, WebAsking

POLL_S = 0.25
ENDS = ("completed", "failed", "cancelled")


class _Job(WebAsking):
    """Conversions and illustrations in turn. What a job took counts from its request until its file is there."""

    abstract = True
    vocabulary = "jobs"

    def on_start(self) -> None:
        super().on_start()
        self._turn = 0

    def act(self) -> bool:
        self._turn += 1
        wanted = self.requests.conversion() if self._turn % 2 else self.requests.illustration()
        began = time.perf_counter()
        body, headers = order(wanted), self.requests.headers
        found = self.ask(
            "submit", lambda: self.send("POST", "/v1/jobs", body, headers), lambda reply: reply.json()["id"]
        )
        if found is None:
            return False
        job_id = found.json()["id"]
        if not self.wait(job_id):
            return False
        done = self.ask("file", lambda: self.file(self._address(job_id)), lambda data: self._check(data, wanted))
        if done is not None:
            self.count(f"{body['kind']}, from request to result", (time.perf_counter() - began) * 1e3)
        return done is not None

    def wait(self, job_id: str) -> bool:
        raise NotImplementedError

    def _address(self, job_id: str) -> str:
        results = self.send("GET", f"/v1/jobs/{job_id}/result").json()["results"]
        url: str = results[0]["url"]
        return url

    def _check(self, data: bytes, wanted: Conversion | Illustration) -> None:
        if isinstance(wanted, Conversion):
            pixels = answers.svg(data, wanted.side_px, wanted.side_px)
        else:
            pixels = answers.picture(data, None)
        self.known.check(wanted.known_as, pixels)


class FollowedJob(_Job):
    """By server-sent events."""

    def wait(self, job_id: str) -> bool:
        def send() -> list[Event]:
            seen = []
            with self.events("GET", f"/v1/jobs/{job_id}/events") as events:
                for event in events:
                    seen.append(event)
                    if event.name in ENDS:
                        break
            return seen

        return self.ask("events", send, _completed) is not None


class PolledJob(_Job):
    """By asking for the status."""

    def wait(self, job_id: str) -> bool:
        end = time.perf_counter() + TIMEOUT_S
        while time.perf_counter() < end:
            reply = self.ask("status", lambda: self.send("GET", f"/v1/jobs/{job_id}"), _not_failed)
            if reply is None:
                return False
            if reply.json()["status"] == "completed":
                return True
            gevent.sleep(POLL_S)
        self.count("status", TIMEOUT_S * 1e3, Wrong(f"not done within {TIMEOUT_S:g} s"))
        return False


def order(wanted: Conversion | Illustration) -> dict[str, Any]:
    """The body of ``POST /v1/jobs``."""
    if isinstance(wanted, Conversion):
        image = f"data:image/png;base64,{base64.b64encode(wanted.image).decode()}"
        options = {**wanted.options, "target_quality": float(wanted.options["target_quality"])}
        return {"kind": "vectorize", "input": {"image": image, **options}}
    asked = {"prompt": wanted.prompt, "seed": wanted.seed, "num_inference_steps": wanted.steps}
    return {"kind": "illustrate", "input": asked}


def _completed(events: list[Event]) -> None:
    if not events or events[-1].name not in ENDS:
        raise Wrong("events without an end")
    if events[-1].name != "completed":
        raise Wrong(f"a job that {json.loads(events[-1].data)['status']}")
    if [event.name for event in events].count("completed") != 1:
        raise Wrong("a job that ended twice")


def _not_failed(reply: Reply) -> None:
    if reply.json()["status"] in ENDS[1:]:
        raise Wrong(f"a job that {reply.json()['status']}")
