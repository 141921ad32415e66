"""`/api/llm`: the art director (C-074 to C-077): chat, refine, suggest, explain, conversations, confirmed actions."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from serve.api.http.event_stream import EventStream
from serve.api.http.fetching import remote_chat_of
from serve.api.http.ownership import check_own, owner_of
from serve.api.http.problems import kind_of, render
from serve.api.http.stateful import StateOf
from serve.api.mind.analyser import analyser
from serve.api.mind.director_models import (
    ChatRequest,
    ChatResponse,
    ConversationChange,
    ConversationId,
    ConversationInfo,
    ConversationsPage,
    ConversationsQuery,
    ExplainRequest,
    ExplainResponse,
    RefineRequest,
    RefineResponse,
    SuggestRequest,
    SuggestResponse,
)
from serve.api.mind.fields import OwnerQuery
from serve.api.openapi.operation import UNKNOWN, event_stream
from serve.ensembles.director.art_director import Answered, ArtDirector
from serve.ensembles.director.chat_model import ChatModel, ChatOptions, Message
from serve.ensembles.director.conversation import ConversationManager
from serve.ensembles.director.llama_chat import EngineChat
from serve.ensembles.director.rules import Reply
from serve.ensembles.illustrator.service import IllustratorService
from serve.errors import AtelierError, NotFound
from serve.security.fetching.chat_service import OpenAIChat
from serve.settings import DirectorSettings, Settings
from serve.state import State, conversations
from serve.state.conversations import ACTIVE, Change, Conversation
from serve.state.gallery import get_generation
from serve.state.tables import utc_now

router = APIRouter(prefix="/api/llm")

MAX_TITLE = 60


def create_director(
    settings: DirectorSettings, illustrator: IllustratorService | None = None, remote: OpenAIChat | None = None
) -> ArtDirector:
    """By rules, unless ``director.engine`` or ``director.base_url`` names a language model. ``remote``: the one of the
    process at ``director.base_url``, whose queue it shares."""
    model: ChatModel | None = None
    if settings.engine is not None and illustrator is not None:
        model = EngineChat(illustrator, settings.engine, settings.timeout_s)
    elif settings.base_url is not None:
        model = remote or OpenAIChat(settings)
    names = ("temperature", "top_p", "top_k", "repeat_penalty", "max_tokens")
    options = ChatOptions(**{name: getattr(settings, name) for name in names})
    return ArtDirector(analyser(), model, options, settings.n_ctx)


async def director_of(request: Request) -> ArtDirector:
    """That of this process."""
    known: ArtDirector | None = getattr(request.app.state, "director", None)
    if known is None:
        settings: Settings = request.app.state.settings
        known = create_director(settings.director, request.app.state.illustrator, remote_chat_of(request))
        request.app.state.director = known
    return known


DirectorOf = Annotated[ArtDirector, Depends(director_of)]


def _served(answered: Answered) -> dict[str, Any]:
    return {"served_by": answered.served_by, "model": answered.model, "degraded": answered.degraded}


@router.post("/refine", response_model=RefineResponse, response_description="The refined prompt, and why")
async def refine(body: RefineRequest, director: DirectorOf) -> Response:
    """Refine a prompt by feedback, with an explanation and three alternatives."""
    answered = await director.refine_prompt(body.prompt, body.feedback)
    found = answered.value
    content = {
        "refinedPrompt": found.refined_prompt, "explanation": found.explanation,
        "alternatives": list(found.alternatives), "negativePrompt": found.negative_prompt,
        "changes": [dict(one) for one in found.changes], **_served(answered),
    }  # fmt: skip
    return render(content, 200, None)


@router.post("/suggest", response_model=SuggestResponse, response_description="Suggestions with reasons")
async def suggest(body: SuggestRequest, director: DirectorOf) -> Response:
    """Suggest improvements of a prompt, and three variations."""
    answered = await director.suggest_improvements(body.prompt)
    content = {
        "suggestions": [dict(one) for one in answered.value.suggestions],
        "variations": list(answered.value.variations), **_served(answered),
    }  # fmt: skip
    return render(content, 200, None)


@router.post("/explain", response_model=ExplainResponse, response_description="What it means")
async def explain(body: ExplainRequest, director: DirectorOf) -> Response:
    """Explain a term of art, with an example."""
    answered = await director.explain_concepts(body.concept)
    found = answered.value
    content = {"concept": found.concept, "explanation": found.text, "example": found.example, "known": found.known}
    return render({**content, **_served(answered)}, 200, None)


_STREAM = event_stream({"event": "token", "data": '{"text": "A "}'})


@router.post(
    "/chat",
    response_model=ChatResponse,
    response_description="The reply",
    responses={200: {"content": _STREAM}, **UNKNOWN},
)
async def chat(body: ChatRequest, request: Request, state: StateOf, director: DirectorOf) -> Response:
    """Talk with the art director: an answer, or with ``stream`` events `token` and at last `done` with all of it.

    The text of `done` counts: if the language model fails in between, it is another one than that of the tokens.
    """
    user_id = owner_of(request, body.user_id, "userId")
    if body.generation_id is not None:
        await check_own(request, "generation", [body.generation_id], "generationId")
    if body.conversation_id is None:
        title = " ".join(body.message.split())[:MAX_TITLE]
        conversation_id = await conversations.create(state.database, user_id, title)
    else:
        conversation_id = body.conversation_id
    conversation = await conversations.get(state.database, conversation_id, user_id)
    answering = _answers(body, director, state, conversation)
    if body.stream:
        settings: Settings = request.app.state.settings
        return await EventStream.of(_events(answering), settings.pictures.heartbeat_s, _error_event)
    async for item in answering:
        if isinstance(item, dict):
            return render(item, 200, None)
    raise AssertionError("a chat ends with its answer")


async def _answers(
    body: ChatRequest, director: ArtDirector, state: State, conversation: Conversation
) -> AsyncGenerator[str | dict[str, Any], None]:
    """Pieces of the reply, then the response; the conversation is stored before it."""
    prompt = body.prompt or conversation.final_prompt
    generation_id = body.generation_id or conversation.generation_id
    result_id = await _first_result(state, generation_id)
    said = [Message(one["role"], one["content"]) for one in conversation.messages]
    manager = ConversationManager(state.settings.director.n_ctx, said)
    async for item in director.chat(manager, body.message, prompt, generation_id, result_id):
        if isinstance(item, str):
            yield item
            continue
        reply: Reply = item.value
        action = reply.action.to_json() if reply.action is not None else None
        prompt = reply.prompt or prompt
        new = [
            _message("user", body.message, {}),
            _message("assistant", reply.text, {**_served(item), "prompt": reply.prompt, "action": action}),
        ]
        at = {"final_prompt": reply.prompt or body.prompt, "generation_id": body.generation_id, "status": ACTIVE}
        at = {name: value for name, value in at.items() if value}  # another request may have changed the others
        await conversations.change(state.database, conversation.id, conversation.user_id, _appended(new, at))
        yield {"conversationId": conversation.id, "reply": reply.text, "prompt": prompt, "action": action,
               **_served(item)}  # fmt: skip


def _message(role: str, content: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": content, "timestamp": utc_now().isoformat(), "metadata": metadata}


def _appended(new: list[dict[str, Any]], values: dict[str, Any]) -> Change:
    """Appends to the messages as they are by then: another request may have added some."""
    return lambda now: {"messages": [*now.messages, *new], **values}


async def _first_result(state: State, generation_id: str | None) -> str | None:
    if generation_id is None:
        return None
    try:
        found = await get_generation(state.database, generation_id)
    except NotFound:
        return None
    return found.results[0].id if found.results else None


async def _events(answering: AsyncGenerator[str | dict[str, Any], None]) -> AsyncGenerator[str, None]:
    async for item in answering:
        if isinstance(item, str):
            yield f"event: token\ndata: {json.dumps({'text': item})}\n\n"
        else:
            yield f"event: done\ndata: {json.dumps(item)}\n\n"


def _error_event(error: AtelierError) -> str:
    problem = {"type": f"urn:atelier:problem:{kind_of(error)}", "status": error.status, "detail": error.message}
    return f"event: error\ndata: {json.dumps(problem)}\n\n"


@router.get("/conversations", response_model=ConversationsPage, response_description="A page")
async def list_conversations(
    query: Annotated[ConversationsQuery, Query()], request: Request, state: StateOf
) -> Response:
    """The conversations of a user, the latest first, without their messages."""
    user_id = owner_of(request, query.user_id, "userId")
    page = await conversations.page(state.database, user_id, query.cursor, query.limit, query.status)
    entries = [
        {"id": one.id, "title": one.title, "finalPrompt": one.final_prompt, "generationId": one.generation_id,
         "status": one.status, "updatedAt": one.updated_at.isoformat()}
        for one in page.items
    ]  # fmt: skip
    return render({"conversations": entries, "nextCursor": page.next_cursor}, 200, None)


@router.get("/conversation/{conversation_id}", response_model=ConversationInfo, response_description="All of it")
async def conversation(
    query: Annotated[OwnerQuery, Query()], request: Request, conversation_id: ConversationId, state: StateOf
) -> Response:
    """A conversation with its messages (C-076)."""
    user_id = owner_of(request, query.user_id, "userId")
    return render(_shown(await conversations.get(state.database, conversation_id, user_id)), 200, None)


@router.put("/conversation/{conversation_id}", response_model=ConversationInfo, response_description="All of it")
async def complete_conversation(
    body: ConversationChange, request: Request, conversation_id: ConversationId, state: StateOf
) -> Response:
    """Complete a conversation, or make it active again; so does the next message to it."""
    user_id = owner_of(request, body.user_id, "userId")
    changed = await conversations.change(state.database, conversation_id, user_id, lambda _: {"status": body.status})
    return render(_shown(changed), 200, None)


@router.delete("/conversation/{conversation_id}", status_code=204, response_description="It is gone")
async def delete_conversation(
    query: Annotated[OwnerQuery, Query()], request: Request, conversation_id: ConversationId, state: StateOf
) -> Response:
    """Delete a conversation; what was drawn from it stays."""
    await conversations.delete(state.database, conversation_id, owner_of(request, query.user_id, "userId"))
    return Response(None, 204)


def _shown(one: Conversation) -> dict[str, Any]:
    return {
        "id": one.id, "userId": one.user_id, "title": one.title, "messages": one.messages,
        "finalPrompt": one.final_prompt, "generationId": one.generation_id, "status": one.status,
        "createdAt": one.created_at.isoformat(), "updatedAt": one.updated_at.isoformat(),
    }  # fmt: skip
