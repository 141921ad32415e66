"""`/api/memories`: what a user remembers, and how it enriches illustrations (A-071)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.bodies import CappedRoute
from serve.api.http.models import Flag, RequestModel, Text, Time
from serve.api.http.ownership import UserName, owner_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf, state_of
from serve.api.mind.analyser import analyser
from serve.api.mind.fields import OwnerQuery
from serve.api.openapi.operation import EXAMPLE_ID, UNKNOWN
from serve.errors import InvalidRequest
from serve.state import memories
from serve.state.memories import MAX_MEMORIES, Memory

router = APIRouter(prefix="/api/memories", route_class=CappedRoute)

MAX_TITLE, MAX_CONTENT, MAX_DATE = 512, 10_000, 64
LEAST_LIKENESS = 0.3
"""Cosine of the embeddings of prompt and memory below which a memory is not recalled."""
_RANKED_CHARACTERS = 1_000
"""Of a memory, beside its title."""
MemoryId = Annotated[
    str, Path(pattern="^[A-Za-z0-9]{1,64}$", description="Of GET /api/memories.", examples=[EXAMPLE_ID])
]


class StoredMemoryFields(RequestModel):
    """How a request names a memory that is stored."""

    id: Annotated[Text | None, Field(max_length=64, description="A stored memory: one of GET /api/memories.")] = None
    recall: Annotated[
        Flag, Field(description="Whether the stored memory that is most like the prompt is taken, if one is alike.")
    ] = False


class NewMemory(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Holidays", "content": "the blue boat of my father"}]}
    )

    title: Annotated[Text, Field(max_length=MAX_TITLE)] = ""
    content: Annotated[Text, Field(min_length=1, max_length=MAX_CONTENT)]
    date: Annotated[Text | None, Field(max_length=MAX_DATE, description="As the user writes it.")] = None
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class MemoryInfo(BaseModel):
    id: str
    title: str
    content: str
    date: str | None
    created_at: Time


class MemoriesResponse(BaseModel):
    memories: Annotated[list[MemoryInfo], Field(description="The newest first.")]
    most: Annotated[int, Field(description="That a user may keep.", examples=[MAX_MEMORIES])]


@router.get("", response_model=MemoriesResponse, response_description="All of them")
async def list_memories(query: Annotated[OwnerQuery, Query()], request: Request, state: StateOf) -> Response:
    """What a user keeps to be recalled by illustrations."""
    kept = await memories.all_of(state.database, owner_of(request, query.user_id, "userId"))
    return render({"memories": [_document(one) for one in kept], "most": MAX_MEMORIES}, 200, None)


@router.post("", response_model=MemoryInfo, status_code=201, response_description="As it is kept")
async def add_memory(body: NewMemory, request: Request, state: StateOf) -> Response:
    """Keep a memory. `memoryContext` of illustrations and of enhanced prompts names it by its id."""
    if not body.content.strip():
        raise InvalidRequest("is required, and must not be empty", "content")
    user_id = owner_of(request, body.user_id, "userId")
    kept = await memories.add(state.database, user_id, body.title.strip(), body.content.strip(), body.date)
    return render(_document(kept), 201, None)


@router.delete("/{memory_id}", status_code=204, response_description="It is gone", responses=UNKNOWN)
async def delete_memory(
    query: Annotated[OwnerQuery, Query()], request: Request, memory_id: MemoryId, state: StateOf
) -> Response:
    """Delete a memory. Pictures that recalled it stay as they are."""
    await memories.delete(state.database, memory_id, owner_of(request, query.user_id, "userId"))
    return Response(None, 204)


async def recalled(
    given: Mapping[str, str], stored: StoredMemoryFields, prompt: str, request: Request, user_id: str | None
) -> dict[str, str]:
    """``given`` texts of a memory (title, content, date), completed by the stored one that ``stored`` names, and its
    id.

    ``user_id`` None: the key's user. Raises NotFound naming ``memoryContext.id``, InvalidRequest without a user, and
    StateUnavailable.
    """
    if stored.id is None and not stored.recall:
        return dict(given)
    owner, database = owner_of(request, user_id, "userId"), (await state_of(request)).database
    if stored.id is not None:
        found: Memory | None = await memories.get(database, stored.id, owner, "memoryContext.id")
    else:
        found = await asyncio.to_thread(_nearest, prompt, await memories.all_of(database, owner))
    if found is None:
        return dict(given)
    texts = {"title": found.title, "content": found.content, "date": found.date or "", "id": found.id}
    return {**{name: text for name, text in texts.items() if text}, **given}


def _nearest(prompt: str, kept: Sequence[Memory]) -> Memory | None:
    """None where none is alike."""
    wanted = analyser().embed(prompt[:_RANKED_CHARACTERS])
    likeness = [float(_embedding(f"{one.title}. {one.content[:_RANKED_CHARACTERS]}") @ wanted) for one in kept]
    best = int(np.argmax(likeness)) if likeness else 0
    return kept[best] if likeness and likeness[best] >= LEAST_LIKENESS else None


@lru_cache(4096)
def _embedding(text: str) -> npt.NDArray[np.float32]:
    """Of a memory: the analysis of all that a user keeps takes some 0.1 s."""
    return analyser().embed(text)


def _document(one: Memory) -> dict[str, Any]:
    return {
        "id": one.id, "title": one.title, "content": one.content, "date": one.date,
        "created_at": one.created_at.isoformat(),
    }  # fmt: skip
