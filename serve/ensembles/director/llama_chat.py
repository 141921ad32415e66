"""Answers of an engine on llama.cpp: `chat_pieces` at the engine, `EngineChat` where the art director is."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.engines.client import EngineClient
from serve.engines.streaming import stream_infer
from serve.ensembles.director.chat_model import ChatFailed, ChatOptions, Message, UselessReply
from serve.ensembles.director.tools import without_controls
from serve.ensembles.illustrator.service import IllustratorService
from serve.errors import DeadlineExceeded, EngineFailure, EngineUnavailable


async def chat_pieces(
    client: EngineClient, engine: str, asked: Mapping[str, Any], timeout_s: float
) -> AsyncGenerator[str]:
    """Raises EngineFailure for an answer that ended by an error or was cut, DeadlineExceeded, and the errors of
    `stream_infer`."""
    answer_id = secrets.token_hex(8)
    document = {**asked, "id": answer_id, "timeout_s": timeout_s}
    stream = stream_infer(client, engine, _request(document), timeout_s=timeout_s, stop=_request({"stop": answer_id}))
    async with contextlib.aclosing(stream) as responses:
        async for response in responses:
            if text := response["text"][0].decode("utf-8", "replace"):
                yield text
            end = response["end"][0].decode("utf-8", "replace")
            if end == "late":
                raise DeadlineExceeded(f"engine '{engine}' did not answer in time")
            if end.startswith("error"):
                raise EngineFailure(f"engine '{engine}' failed")


def _request(document: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    return {"request": np.array([json.dumps(document).encode()], np.object_)}


class EngineChat:
    """A `ChatModel` on an engine of the Illustrator."""

    def __init__(self, illustrator: IllustratorService, engine: str, timeout_s: float) -> None:
        self.name = engine
        self._illustrator = illustrator
        self._timeout_s = timeout_s

    async def stream(self, messages: Sequence[Message], options: ChatOptions) -> AsyncGenerator[str, None]:
        """Pieces of the answer. Raises ChatFailed, UselessReply, Overloaded."""
        asked: dict[str, Any] = {
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k,
            "repeat_penalty": options.repeat_penalty,
            "max_tokens": options.max_tokens,
            "schema": options.schema,
        }
        try:
            pieces = self._illustrator.chat(self.name, asked, self._timeout_s)
            async with contextlib.aclosing(pieces) as items:
                async for piece in items:
                    yield str(without_controls(piece))
        except EngineFailure:
            raise UselessReply("failed at this request") from None
        except DeadlineExceeded:
            raise ChatFailed("did not answer in time") from None
        except EngineUnavailable as error:
            raise ChatFailed("is not there" if not isinstance(error, ChatFailed) else error.message) from None
