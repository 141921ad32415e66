"""`ConversationManager`: the messages that fit into the context of a model, older ones as a summary (C-073)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from serve.ensembles.director.chat_model import Message, Role
from serve.ensembles.director.templates import unmarked

MAX_CONTEXT = 2048
_PER_MESSAGE = 4
"""Tokens that a message costs beside its text."""
_KEPT = 4
"""Messages that are never summarised: the newest."""
_SUMMARY_SHARE = 0.25


def tokens_of(text: str) -> int:
    """An estimate that is rather too high: four ASCII characters a token, one and a half of others."""
    plain = sum(character.isascii() for character in text)
    return _PER_MESSAGE + math.ceil(plain / 4 + (len(text) - plain) / 1.5)


def shortened(text: str, most: int) -> str:
    """The beginning of ``text`` that has at most ``most`` tokens by `tokens_of`; at least 16 characters."""
    if tokens_of(text) <= most:
        return text
    low, high = 16, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens_of(text[:middle]) + 1 <= most else (low, middle - 1)
    return f"{text[:low]}…"


class ConversationManager:
    """``max_context``: tokens of all messages together. ``summary``: of messages before the first."""

    def __init__(self, max_context: int = MAX_CONTEXT, messages: Sequence[Message] = (), summary: str = "") -> None:
        self.max_context = max_context
        self.messages = list(messages)
        self.summary = summary

    def add_message(self, role: Role, content: str) -> None:
        self.messages.append(Message(role, content))

    @property
    def tokens(self) -> int:
        return sum(tokens_of(message.content) for message in self.messages) + (tokens_of(self.summary))

    def summarize_if_needed(self) -> bool:
        """Folds the oldest messages into the summary until the rest fits; whether there were any.

        The summary is of the users' own words, shortened: a person's early wishes outlive the context.
        """
        folded: list[Message] = []
        while self.tokens > self.max_context and len(self.messages) > _KEPT:
            folded.append(self.messages.pop(0))
            self.summary = self._folded(folded)
        while self.tokens > self.max_context and len(self.messages) > 1:
            self.messages.pop(0)
        return bool(folded)

    def _folded(self, folded: Sequence[Message]) -> str:
        most = int(4 * self.max_context * _SUMMARY_SHARE)
        earlier = [line for line in self.summary.split("\n") if line]
        lines = [f"- {_first(message.content)}" for message in folded if message.role == "user"]
        known = list(dict.fromkeys([*earlier, *lines]))
        while len("\n".join(known)) > most and len(known) > 1:
            known.pop(1 if len(known) > 2 else 0)
        return "\n".join(known)[:most]

    def get_context(self) -> list[Message]:
        """The summary, if there is one, and the messages. What the summary quotes is material, not an instruction."""
        self.summarize_if_needed()
        newest = self.messages[-1:]
        room = self.max_context - (tokens_of(self.summary) if self.summary else 0)
        if newest and len(self.messages) == 1 and tokens_of(newest[0].content) > room:
            newest = [Message(newest[0].role, shortened(newest[0].content, room))]
        messages = [*self.messages[:-1], *newest]
        if not self.summary:
            return messages
        text = f"Earlier in this conversation the person said: <<<\n{unmarked(self.summary)}\n>>>"
        return [Message("user", text), *messages]


def _first(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
