"""What the art director needs of a language model: messages in, pieces of text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from serve.errors import EngineUnavailable

Role = Literal["system", "user", "assistant"]


class ChatFailed(EngineUnavailable):
    """The language model did not answer properly. The message has the kind of failure, never the model's text."""

    kind = "chat-failed"


class UselessReply(ChatFailed):
    """The language model is there; what it answered to this request cannot be used. It is no outage."""


class OutOfTime(ChatFailed):
    """The request's own time is over, whatever the language model would have answered. It is no outage."""


@dataclass(frozen=True)
class Message:
    """``picture``: a PNG, for models that see; empty: none."""

    role: Role
    content: str
    picture: bytes = b""


@dataclass(frozen=True)
class ChatOptions:
    """Defaults of C-071."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 40
    repeat_penalty: float = 1.1
    max_tokens: int = 512
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer has to keep, where the model can be held to one."""


class ChatModel(Protocol):
    name: str

    def stream(self, messages: Sequence[Message], options: ChatOptions) -> AsyncGenerator[str, None]:
        """Pieces of the answer. Closing it ends the work. Raises ChatFailed, Overloaded."""
