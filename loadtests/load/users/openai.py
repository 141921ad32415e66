"""OpenAI's images, in the shape in which OpenAI's Python package sends them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from loadtests.load import answers
from loadtests.load.answers import Wrong
from loadtests.load.outcome import STEP
from loadtests.load.requests import Illustration
from loadtests.load.users.web import Event, Reply, WebUser

TARGET = "/v1/images/generations"
PACKAGE = {
    "Accept": "application/json",
    "User-Agent": "OpenAI/Python 3.52.0",
    "x-stainless-lang": "python",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
"""What the package sends beside the key. It shows a key always."""
PREVIEWS = 2


class _Images(WebUser):
    abstract = True
    vocabulary = "openai"

    def headers(self) -> Mapping[str, str]:
        return {**PACKAGE, "Authorization": f"Bearer {self.key or 'none'}", **self.requests.headers}

    def body(self, wanted: Illustration) -> dict[str, Any]:
        return {"prompt": wanted.prompt, "n": 1, "size": "auto", "seed": wanted.seed, "steps": wanted.steps}

    def check(self, payload: Mapping[str, Any], b64_json: str, wanted: Illustration) -> None:
        """``payload`` says of which size."""
        width, height = map(int, payload["size"].split("x"))
        self.known.check(wanted.known_as, answers.picture(base64.b64decode(b64_json), (width, height)))


class OpenAIGenerate(_Images):
    """``client.images.generate(prompt=...)``"""

    def act(self) -> bool:
        wanted = self.requests.illustration()

        def send() -> Reply:
            return self.send("POST", TARGET, self.body(wanted), self.headers())

        def check(reply: Reply) -> None:
            payload = reply.json()
            self.check(payload, payload["data"][0]["b64_json"], wanted)

        return self.ask("generate", send, check) is not None


class OpenAIStream(_Images):
    """``client.images.generate(prompt=..., stream=True, partial_images=2)``; its previews are timed too."""

    def act(self) -> bool:
        wanted = self.requests.illustration()
        body = {**self.body(wanted), "stream": True, "partial_images": PREVIEWS}
        began = time.perf_counter()

        def send() -> list[Event]:
            with self.events("POST", TARGET, body, {**self.headers(), "Accept": "text/event-stream"}) as events:
                return list(events)

        found = self.ask("stream", send, lambda events: self._check(events, wanted))
        previews = [event for event in found or [] if event.name == "image_generation.partial_image"]
        self.notes.previews += len(previews)
        if previews:
            self.count(f"{STEP}first preview", (previews[0].at_s - began) * 1e3)
        return found is not None

    def _check(self, events: list[Event], wanted: Illustration) -> None:
        if not events or events[-1].data != "[DONE]":
            raise Wrong("a stream that broke off")
        done = [json.loads(event.data) for event in events if event.name == "image_generation.completed"]
        if len(done) != 1:
            raise Wrong("a stream without its picture")
        self.check(done[0], done[0]["b64_json"], wanted)
