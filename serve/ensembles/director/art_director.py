"""`ArtDirector`: refines, suggests, explains and talks (C-074), by a chat model if there is one, else by rules.

Answers of the model are validated; an invalid or missing one is replaced by that of the rules, which says why in
``degraded``. After several transport failures in a row the model gets no requests for `REST_S` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from serve.ensembles.director.chat_model import ChatFailed, ChatModel, ChatOptions, Message, OutOfTime, UselessReply
from serve.ensembles.director.conversation import ConversationManager, shortened, tokens_of
from serve.ensembles.director.rules import VARIATIONS, Advice, Explanation, Refinement, Reply, RulesDirector
from serve.ensembles.director.templates import filled, template, unmarked
from serve.ensembles.director.tools import split_action, without_controls
from serve.ensembles.prompts.analysis import SERVED_BY, PromptAnalyser
from serve.errors import Overloaded
from serve.observability import request_context

LLM, RULES = "llm", SERVED_BY
CACHED = 256
CACHE_S = 3600.0
"""C-090."""
MAX_FAILURES = 3
REST_S = 30.0
RULES_S = 0.5
"""Of a request's time, kept for an answer by rules."""
MAX_REPLY_CHARACTERS = 16_000
_PAUSED = f"no requests are sent to the language model for up to {REST_S:g} s, because the last ones failed"
T = TypeVar("T")
Text = Annotated[str, Field(min_length=1, max_length=4_000)]


class _Refined(BaseModel):
    refined_prompt: Text
    explanation: Annotated[str, Field(max_length=2_000)] = ""
    alternatives: Annotated[list[Text], Field(max_length=10)] = []


class _Suggestion(BaseModel):
    kind: Annotated[str, Field(max_length=64)]
    text: Text
    reason: Annotated[str, Field(max_length=1_000)] = ""


class _Suggested(BaseModel):
    suggestions: Annotated[list[_Suggestion], Field(min_length=1, max_length=20)]
    variations: Annotated[list[Text], Field(max_length=10)] = []


@dataclass(frozen=True)
class Answered:
    """``degraded``: why the rules answered though there is a model; None if they did not, or there is none."""

    value: Any
    served_by: str
    model: str | None = None
    degraded: str | None = None


class ArtDirector:
    """For one event loop."""

    def __init__(
        self,
        analyser: PromptAnalyser,
        model: ChatModel | None = None,
        options: ChatOptions | None = None,
        max_context: int = 2048,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = RulesDirector(analyser)
        self.model = model
        self._analyser = analyser
        self._options = options or ChatOptions()
        self._max_context = max_context
        self._clock = clock
        self._failures = 0
        self._paused_until = 0.0
        self._cache: OrderedDict[tuple[str, ...], tuple[float, Answered]] = OrderedDict()

    async def refine_prompt(self, original_prompt: str, feedback: str) -> Answered:
        """A `Refinement`."""

        async def by_model(model: ChatModel) -> Refinement:
            asked = filled("refine_prompt", original_prompt=original_prompt, feedback=feedback)
            got = _parsed(_Refined, await self._complete(model, asked, _Refined))
            if not await asyncio.to_thread(self._keeps_subject, original_prompt, feedback, got.refined_prompt):
                raise UselessReply("lost the subject of the prompt")
            more = await asyncio.to_thread(self.rules.generate_variations, got.refined_prompt)
            alternatives = [*got.alternatives, *more][:VARIATIONS]
            return Refinement(got.refined_prompt, got.explanation, alternatives)

        key = ("refine", original_prompt, feedback)
        return await self._either(key, by_model, lambda: self.rules.refine_prompt(original_prompt, feedback))

    async def suggest_improvements(self, prompt: str) -> Answered:
        """An `Advice`."""

        async def by_model(model: ChatModel) -> Advice:
            described = await asyncio.to_thread(self._described, prompt)
            asked = filled("suggest_styles", original_prompt=prompt, analysis=described)
            got = _parsed(_Suggested, await self._complete(model, asked, _Suggested))
            more = await asyncio.to_thread(self.rules.generate_variations, prompt)
            variations = [*got.variations, *more][:VARIATIONS]
            return Advice([one.model_dump() for one in got.suggestions], variations)

        return await self._either(("suggest", prompt), by_model, lambda: self.rules.suggest_improvements(prompt))

    async def explain_concepts(self, concept: str) -> Answered:
        """An `Explanation`."""

        async def by_model(model: ChatModel) -> Explanation:
            text = (await self._complete(model, filled("explain_concept", concept=concept))).strip()
            if not text:
                raise UselessReply("answered nothing")
            return Explanation(concept, text, None, True)

        return await self._either(("explain", concept), by_model, lambda: self.rules.explain_concepts(concept))

    async def chat(
        self,
        conversation: ConversationManager,
        message: str,
        prompt: str | None,
        generation_id: str | None = None,
        result_id: str | None = None,
    ) -> AsyncGenerator[str | Answered, None]:
        """Pieces of the answer, then an `Answered` with the whole `Reply`, which replaces the pieces: if the model
        fails in between, it is that of the rules."""
        conversation.add_message("user", message)
        degraded = None
        if (model := self._ready()) is not None:
            system = Message("system", self._system(prompt, generation_id, result_id))
            conversation.max_context = self._max_context - tokens_of(system.content) - self._options.max_tokens
            conversation.max_context = max(conversation.max_context, 256)
            pieces: list[str] = []
            try:
                messages = [system, *conversation.get_context()]
                async with contextlib.aclosing(self._stream(model, messages)) as stream:
                    async for piece in stream:
                        pieces.append(piece)
                        yield piece
                text, action = split_action("".join(pieces))
                if not text and action is None:
                    raise UselessReply("answered nothing")
                self._failures = 0
                proposed = str(action.arguments["prompt"]) if action is not None and action.tool == "draw" else None
                yield Answered(Reply(text, proposed, action), LLM, model.name)
                return
            except (ChatFailed, Overloaded) as error:
                degraded = self._failed(error)
        elif self.model is not None:
            degraded = _PAUSED
        reply = await asyncio.to_thread(self.rules.reply, message, prompt, generation_id, result_id)
        for piece in _pieces(reply.text):
            yield piece
        yield Answered(reply, RULES, None, degraded)

    def _system(self, prompt: str | None, generation_id: str | None, result_id: str | None) -> str:
        known = [f"The current prompt: <<<{unmarked(shortened(prompt, self._max_context // 4))}>>>"] if prompt else []
        known += [f"generation_id of the last drawing: {generation_id}"] if generation_id else []
        known += [f"result_id of its first picture: {result_id}"] if result_id else []
        return "\n".join([template("art_director"), *known])

    def _described(self, prompt: str) -> str:
        analysis = self._analyser.analyse(prompt)
        concepts = ", ".join(one.name for one in analysis.concepts) or "none"
        return f"concepts: {concepts}; mood: {analysis.mood.name if analysis.mood else 'none'}"

    def _keeps_subject(self, original: str, feedback: str, refined: str) -> bool:
        """Whether a thing of the original is in the refined prompt, unless the feedback speaks of things itself."""
        things = {one.name for one in self._analyser.analyse(original).objects}
        if not things or self._analyser.analyse(feedback).objects:
            return True
        return bool(things & {one.name for one in self._analyser.analyse(refined).objects})

    async def _complete(self, model: ChatModel, asked: str, form: type[BaseModel] | None = None) -> str:
        """``form``: what the answer is to be, as JSON."""
        messages = [Message("system", template("art_director")), Message("user", asked)]
        if sum(tokens_of(one.content) for one in messages) + self._options.max_tokens > self._max_context:
            raise UselessReply("has a context that is too small for this text")
        options = (
            self._options if form is None else replace(self._options, schema=_without_lengths(form.model_json_schema()))
        )
        return "".join([piece async for piece in self._stream(model, messages, options)])

    async def _stream(
        self, model: ChatModel, messages: Sequence[Message], options: ChatOptions | None = None
    ) -> AsyncGenerator[str, None]:
        """Pieces of the answer. Raises UselessReply for one that is too long, OutOfTime while there still is time to
        answer by rules."""
        size, deadline = 0, request_context.current().deadline
        until = None if deadline is None else deadline - RULES_S
        async with contextlib.aclosing(model.stream(messages, options or self._options)) as pieces:
            while (piece := await _next(pieces, until)) is not None:
                size += len(piece)
                if size > MAX_REPLY_CHARACTERS:
                    raise UselessReply("answered too much")
                yield piece

    async def _either(
        self, key: tuple[str, ...], by_model: Callable[[ChatModel], Awaitable[Any]], by_rules: Callable[[], Any]
    ) -> Answered:
        model = self._ready()
        if model is None:
            return Answered(await asyncio.to_thread(by_rules), RULES, None, _PAUSED if self.model else None)
        known = self._cache.get(key)
        if known is not None and self._clock() - known[0] < CACHE_S:
            return known[1]
        try:
            answered = Answered(await by_model(model), LLM, model.name)
        except (ChatFailed, Overloaded) as error:
            return Answered(await asyncio.to_thread(by_rules), RULES, None, self._failed(error))
        self._failures = 0
        self._cache[key] = (self._clock(), answered)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return answered

    def _ready(self) -> ChatModel | None:
        return self.model if self._clock() >= self._paused_until else None

    def _failed(self, error: ChatFailed | Overloaded) -> str:
        if isinstance(error, UselessReply):
            self._failures = 0
        elif isinstance(error, ChatFailed) and not isinstance(error, OutOfTime):
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._failures, self._paused_until = 0, self._clock() + REST_S
        return f"the language model {error.message}" if isinstance(error, ChatFailed) else error.message


async def _next(pieces: AsyncGenerator[str, None], until: float | None) -> str | None:
    """The next piece before ``until``, by ``time.monotonic``; None after the last. The limit is around the read alone.
    Raises OutOfTime."""
    left_s = None if until is None else until - time.monotonic()
    if left_s is not None and left_s <= 0:
        raise OutOfTime("had no time left to answer in")
    reading = asyncio.timeout(left_s)
    try:
        async with reading:
            return await anext(pieces, None)
    except TimeoutError:
        if not reading.expired():
            raise
        raise OutOfTime("did not answer within the time of the request") from None


M = TypeVar("M", bound=BaseModel)


def _parsed(model: type[M], text: str) -> M:
    """The JSON object in ``text``. Raises UselessReply."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return model.model_validate(without_controls(json.loads(text[start : end + 1], strict=False)))
    except (ValueError, ValidationError, RecursionError):
        raise UselessReply("answered in another form than asked for") from None


def _without_lengths(schema: Any) -> Any:
    """A grammar of thousands of optional characters is slow; lengths are checked afterwards."""
    if isinstance(schema, dict):
        return {
            key: _without_lengths(value)
            for key, value in schema.items()
            if key not in ("minLength", "maxLength", "maxItems")
        }
    return [_without_lengths(one) for one in schema] if isinstance(schema, list) else schema


def _pieces(text: str) -> Sequence[str]:
    """Words with what follows them."""
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]
