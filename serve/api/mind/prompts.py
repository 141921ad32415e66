"""`/api/nlp`: what a prompt means, how to say it better, presets, history and favourites (C-030 to C-038)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from serve.api.http.ownership import actor_of, owner_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.middleware.authentication import principal_of
from serve.api.mind.analyser import analyse, analyser
from serve.api.mind.fields import OwnerQuery
from serve.api.mind.memories import recalled
from serve.api.mind.prompt_models import (
    AnalyzeRequest,
    AnalyzeResponse,
    DeletedHistoryResponse,
    DeleteHistoryQuery,
    EnhanceRequest,
    EnhanceResponse,
    FavoritePromptRequest,
    FavoritePromptResponse,
    HistoryPage,
    HistoryQuery,
    KeywordsResponse,
    PromptPresetsResponse,
    PromptRequest,
    SentimentResponse,
)
from serve.api.openapi.operation import EXAMPLE_ID, UNKNOWN
from serve.ensembles.prompts.analysis import Analysis, to_json
from serve.ensembles.prompts.enhancement import enhance
from serve.ensembles.prompts.vocabulary import FOLDER, read_table
from serve.errors import InvalidRequest
from serve.security.identity.audit import record_now
from serve.security.identity.roles import LOCAL
from serve.state import State, prompts
from serve.state.prompts import StoredPrompt

router = APIRouter(prefix="/api/nlp")

PromptId = Annotated[str, Path(pattern="^[A-Za-z0-9]{1,64}$", examples=[EXAMPLE_ID])]
PRESETS_AGE_S = 86_400
"""C-090."""


@router.post("/analyze", response_model=AnalyzeResponse, response_description="What it means")
async def analyze(body: AnalyzeRequest, request: Request) -> Response:
    """Analyse a prompt: sentiment, keywords, concepts, mood, palette, suggested styles."""
    analysis = await analyse(body.prompt)
    content = to_json(analysis)
    return render({"id": await _saved(body, request, analysis), "prompt": body.prompt, **content}, 200, None)


async def _saved(body: AnalyzeRequest, request: Request, analysis: Analysis) -> str | None:
    """The id of the entry; None where nothing is kept: without a state, a user, or words. Without a key a user is
    known only if the request names one."""
    user_id = principal_of(request).acting_user_id(body.user_id, "userId")
    state: State | None = getattr(request.app.state, "state", None)
    is_known = user_id != LOCAL.user_id or body.user_id is not None
    if not body.save or state is None or not is_known or not body.prompt.strip():
        return None
    return await prompts.save(state.database, user_id, body.prompt, to_json(analysis), analysis.flat_keywords())


@router.post("/keywords", response_model=KeywordsResponse, response_description="Those it has")
async def keywords(body: PromptRequest) -> Response:
    """The keywords of a prompt in six categories (C-032), what it excludes, and the things in it."""
    found = to_json(await analyse(body.prompt))
    return render({name: found[name] for name in KeywordsResponse.model_fields}, 200, None)


@router.post("/sentiment", response_model=SentimentResponse, response_description="It, with confidence")
async def sentiment(body: PromptRequest) -> Response:
    """Whether a prompt is positive, neutral or negative (C-031), and its mood."""
    found = to_json(await analyse(body.prompt))
    return render({**found["sentiment"], "mood": found["mood"], "served_by": found["served_by"]}, 200, None)


@router.post("/enhance", response_model=EnhanceResponse, response_description="The better prompt, and why")
async def enhance_prompt(body: EnhanceRequest, request: Request) -> Response:
    """Add to a prompt what it leaves open (C-036), and explain each addition; its own words stay as they are."""
    known = analyser().vocabulary.terms["styles"]
    if body.style is not None and body.style not in known:
        raise InvalidRequest(f"must be one of {', '.join(known)}", "style")
    given = body.memory_context
    memory = await recalled(given.texts(), given, body.prompt, request, body.user_id)
    memory_text = ". ".join(memory[name] for name in ("title", "content") if name in memory)
    known_memory = await analyse(memory_text) if memory_text else None
    done = await asyncio.to_thread(enhance, analyser(), body.prompt, body.level, body.style, known_memory)
    changes = [{"kind": one.kind, "text": one.text, "reason": one.reason} for one in done.changes]
    content = {
        "original": done.original, "enhanced": done.enhanced, "negative_prompt": done.negative_prompt,
        "changes": changes, "analysis": to_json(done.analysis), "served_by": done.analysis.served_by,
    }  # fmt: skip
    return render(content, 200, None)


@cache
def preset_categories() -> Mapping[str, Any]:
    return read_table(FOLDER / "presets.toml")


@router.get("/presets", response_model=PromptPresetsResponse, response_description="All of them")
async def presets() -> Response:
    """Prompts to begin with, by category (C-037)."""
    response = render({"categories": preset_categories()}, 200, None)
    response.headers["Cache-Control"] = f"private, max-age={PRESETS_AGE_S}"
    return response


@router.get("/history", response_model=HistoryPage, response_description="A page")
async def history(query: Annotated[HistoryQuery, Query()], request: Request, state: StateOf) -> Response:
    """The prompts that a user has analysed, the newest first."""
    user_id = owner_of(request, query.user_id, "userId")
    page = await prompts.history(state.database, user_id, query.cursor, query.limit, query.favorite, query.q)
    content = {"prompts": [_entry(one) for one in page.items], "next_cursor": page.next_cursor}
    return render(content, 200, None)


@router.delete("/history", response_model=DeletedHistoryResponse, response_description="How much it was")
async def delete_history(query: Annotated[DeleteHistoryQuery, Query()], request: Request, state: StateOf) -> Response:
    """Delete the prompts that a user has analysed. Favourites stay, unless the query says otherwise."""
    user_id = owner_of(request, query.user_id, "userId")
    deleted = await prompts.delete_all(state.database, user_id, query.favorites, query.until)
    await record_now(state.database, actor_of(request), "prompts.delete", user_id, entries=deleted)
    return render({"deleted": deleted}, 200, None)


@router.delete("/history/{prompt_id}", status_code=204, response_description="It is gone", responses=UNKNOWN)
async def delete_entry(
    query: Annotated[OwnerQuery, Query()], request: Request, prompt_id: PromptId, state: StateOf
) -> Response:
    """Delete one entry of the history, a favourite too."""
    user_id = owner_of(request, query.user_id, "userId")
    await prompts.delete(state.database, prompt_id, user_id)
    await record_now(state.database, actor_of(request), "prompts.delete", user_id, entries=1)
    return Response(None, 204)


def _entry(stored: StoredPrompt) -> dict[str, Any]:
    return {
        "id": stored.id, "prompt": stored.text, "analysis": stored.analysis, "favorite": stored.favorite,
        "created_at": stored.created_at.isoformat(),
    }  # fmt: skip


@router.put("/favorite/{prompt_id}", response_model=FavoritePromptResponse, response_description="As it is now")
async def favorite(body: FavoritePromptRequest, request: Request, prompt_id: PromptId, state: StateOf) -> Response:
    """Make an entry of the history a favourite, or no favourite any more."""
    await prompts.set_favorite(state.database, prompt_id, owner_of(request, body.user_id, "userId"), body.favorite)
    return render({"id": prompt_id, "favorite": body.favorite}, 200, None)
