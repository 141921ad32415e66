"""The queue: a job is asked for, waited for, and its result fetched."""

from __future__ import annotations

import base64
import json
from typing import Any

import gevent

from loadtests.load import answers
from loadtests.load.answers import Wrong
from loadtests.load.requests import Conversion, Illustration
from loadtests.load.users.web import Event, WebUser

POLL_S = 0.25
ENDS = ("completed", "failed", "cancelled")


class _Job(WebUser):
    """Conversions and illustrations in turn. What a job took counts from its request until its file is there."""

    abstract = True
    vocabulary = "jobs"

    def on_start(self) -> None:
        super().on_start()
        self._turn = 0

    def act(self) -> bool:
        self._turn += 1
        wanted = self.requests.conversion() if self._turn % 2 else self.requests.unseen()
        body, headers = order(wanted), self.requests.headers

        def send() -> tuple[dict[str, Any], bytes]:
            job = self.step("submit", lambda: self.send("POST", "/v1/jobs", body, headers)).json()
            self.wait(job["id"])
            return self.step("file", lambda: self._result(job["id"]))

        def check(found: tuple[dict[str, Any], bytes]) -> None:
            self._check(*found, wanted)

        return self.ask(f"{body['kind']}, from request to result", send, check) is not None

    def wait(self, job_id: str) -> None:
        """Until the job is completed; how long, is limited by who asks. Raises ``Wrong`` when it ends otherwise."""
        raise NotImplementedError

    def _result(self, job_id: str) -> tuple[dict[str, Any], bytes]:
        """What the job came to, in words, and its file."""
        result = self.send("GET", f"/v1/jobs/{job_id}/result").json()
        return result, self.file(result["results"][0]["url"])

    def _check(self, result: dict[str, Any], data: bytes, wanted: Conversion | Illustration) -> None:
        self.made(not result["cached"])
        if isinstance(wanted, Conversion):
            answers.check_not_degraded(result["details"]["degraded"])
            self.known.check(wanted.known_as, answers.svg(data, wanted.side_px, wanted.side_px))
            return
        pixels = answers.picture(data, None)
        answers.seeded(data, wanted.seed)
        if not self.requests.anew:  # such a drawing comes once
            self.known.check(wanted.known_as, pixels)


class FollowedJob(_Job):
    """By server-sent events."""

    def wait(self, job_id: str) -> None:
        self.step("events", lambda: self._follow(job_id))

    def _follow(self, job_id: str) -> None:
        seen = []
        with self.events("GET", f"/v1/jobs/{job_id}/events") as events:
            for event in events:
                seen.append(event)
                if event.name in ENDS:
                    break
        _completed(seen)


class PolledJob(_Job):
    """By asking for the status."""

    def wait(self, job_id: str) -> None:
        while self.step("status", lambda: self._status(job_id)) != "completed":
            gevent.sleep(POLL_S)

    def _status(self, job_id: str) -> str:
        status: str = self.send("GET", f"/v1/jobs/{job_id}").json()["status"]
        if status in ENDS[1:]:
            raise Wrong(f"a job that {status}")
        return status


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
