"""The native vocabulary."""

from __future__ import annotations

import base64

from loadtests.load import answers
from loadtests.load.requests import Conversion
from loadtests.load.users.web import Reply, WebUser

NOBODY = "load-test"


class NativeVectorize(WebUser):
    """``POST /api/convert-ai``: multipart in, JSON out."""

    vocabulary = "native"

    def act(self) -> bool:
        wanted = self.requests.conversion()
        headers = self.requests.headers

        def send() -> Reply:
            return self.form("/api/convert-ai", wanted.image, wanted.options, headers)

        return self.ask("vectorize", send, lambda reply: self._check(reply, wanted)) is not None

    def _check(self, reply: Reply, wanted: Conversion) -> None:
        result = reply.json()
        answers.check_not_degraded(result["ai_metadata"]["degraded"])
        pixels = answers.svg(result["svg_content"].encode(), wanted.side_px, wanted.side_px)
        self.known.check(wanted.known_as, pixels)


class NativeIllustrate(WebUser):
    """``POST /generate``, then the picture that the answer names."""

    vocabulary = "native"

    def act(self) -> bool:
        wanted = self.requests.illustration()
        body = {"prompt": wanted.prompt, "seed": wanted.seed, "num_inference_steps": wanted.steps}
        if not self.key:
            body["user_id"] = NOBODY  # who has a key is who the key says
        headers = self.requests.headers

        def send() -> bytes:
            result = self.step("request", lambda: self.send("POST", "/generate", body, headers)).json()
            url: str = result["image_url"]
            if url.startswith("data:"):
                return base64.b64decode(url.partition(",")[2])
            return self.step("file", lambda: self.file(url))

        def check(data: bytes) -> None:
            self.known.check(wanted.known_as, answers.picture(data, None))

        return self.ask("illustrate", send, check) is not None
