"""Requests and answers of `/api/llm`.

Names of fields are those of the interface that the routes come from: camelCase, but for ``served_by``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.models import Cursor, Flag, NextCursor, RequestModel, Text, Time, Whole
from serve.api.http.ownership import UserName
from serve.api.mind.fields import MAX_PROMPT, OwnerQuery
from serve.api.openapi.operation import EXAMPLE_ID
from serve.ensembles.requests import STORED_ID
from serve.state.conversations import MAX_PAGE_SIZE

MAX_MESSAGE = 8_000
MAX_CONCEPT = 200
_CONVERSATION = "^[0-9a-f]{32}$"
_PROMPT = "a red fox in a forest, watercolour"
Prompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT, examples=[_PROMPT])]
ConversationId = Annotated[
    str,
    Path(pattern=_CONVERSATION, description="A conversation, as the chat's answer names it.", examples=[EXAMPLE_ID]),
]
ServedBy = Annotated[
    Literal["rules", "llm"], Field(description="rules: no language model took part; llm: the site's language model.")
]
Degraded = Annotated[
    str | None, Field(description="Why rules answered though the site has a language model.", examples=[None])
]
Status = Literal["active", "completed"]
ModelName = Annotated[str | None, Field(description="The language model's name; None for rules.", examples=[None])]


class RefineRequest(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": _PROMPT, "feedback": "make it more dramatic"}]}
    )

    prompt: Prompt
    feedback: Annotated[Text, Field(min_length=1, max_length=MAX_MESSAGE, description="What should change.")]


class SuggestRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": _PROMPT}]})

    prompt: Prompt


class ExplainRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"concept": "chiaroscuro"}]})

    concept: Annotated[Text, Field(min_length=1, max_length=MAX_CONCEPT)]


class ChatRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "a fox in the snow, calm", "userId": "ada"}]})

    message: Annotated[Text, Field(min_length=1, max_length=MAX_MESSAGE)]
    conversation_id: Annotated[
        Text | None, Field(alias="conversationId", pattern=_CONVERSATION, description="None begins a new one.")
    ] = None
    prompt: Annotated[
        Text | None, Field(max_length=MAX_PROMPT, description="The prompt that is talked about; else the last one.")
    ] = None
    generation_id: Annotated[
        Text | None, Field(alias="generationId", pattern=STORED_ID, description="The drawing that is talked about.")
    ] = None
    stream: Annotated[Flag, Field(description="Whether the answer comes as server-sent events.")] = False
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class ActRequest(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"conversationId": EXAMPLE_ID, "actionId": "9f86d081884c7d65", "confirm": True}]
        }
    )

    conversation_id: Annotated[Text, Field(alias="conversationId", pattern=_CONVERSATION)]
    action_id: Annotated[Text, Field(alias="actionId", pattern="^[0-9a-f]{16}$")]
    confirm: Annotated[Flag, Field(description="False declines it.")]
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class ConversationChange(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "completed"}]})

    status: Status
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class RefinementChange(BaseModel):
    kind: str
    text: str
    reason: str


class RefineResponse(BaseModel):
    refinedPrompt: str
    explanation: str
    alternatives: list[str]
    negativePrompt: str
    changes: list[RefinementChange]
    served_by: ServedBy
    model: ModelName
    degraded: Degraded


class SuggestResponse(BaseModel):
    suggestions: list[RefinementChange]
    variations: Annotated[list[str], Field(description="Three.")]
    served_by: ServedBy
    model: ModelName
    degraded: Degraded


class ExplainResponse(BaseModel):
    concept: str
    explanation: str
    example: Annotated[str | None, Field(description="A prompt that uses it.")]
    known: Annotated[bool, Field(description="False: there is no entry for it.")]
    served_by: ServedBy
    model: ModelName
    degraded: Degraded


class ActionInfo(BaseModel):
    id: str
    tool: Literal["draw", "vary", "vectorise"]
    arguments: Annotated[dict[str, Any], Field(examples=[{"prompt": _PROMPT}])]
    status: Literal["proposed", "done", "declined"]


class ChatResponse(BaseModel):
    conversationId: str
    reply: str
    prompt: Annotated[str | None, Field(description="The prompt that the conversation is at.")]
    action: Annotated[ActionInfo | None, Field(description="Proposed; `POST /api/llm/act` confirms it.")]
    served_by: ServedBy
    model: ModelName
    degraded: Degraded


class MessageInfo(BaseModel):
    role: Literal["user", "assistant"]
    content: str
    timestamp: Time
    metadata: Annotated[dict[str, Any], Field(examples=[{"served_by": "rules"}])]


class ConversationInfo(BaseModel):
    id: str
    userId: str
    title: str
    messages: list[MessageInfo]
    finalPrompt: str | None
    generationId: str | None
    status: Status
    createdAt: Time
    updatedAt: Time


class ConversationEntry(BaseModel):
    id: str
    title: str
    finalPrompt: str | None
    generationId: str | None
    status: Status
    updatedAt: Time


class ConversationsPage(BaseModel):
    conversations: list[ConversationEntry]
    nextCursor: NextCursor


class ActResponse(BaseModel):
    conversationId: str
    actionId: str
    status: Literal["done", "declined"]
    jobIds: Annotated[list[str], Field(description="Jobs that it put on the queue.")]


class ConversationsQuery(OwnerQuery):
    cursor: Cursor = None
    status: Annotated[Status | None, Field(description="Those in this status alone.")] = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_PAGE_SIZE, description="Most in one page.")] = 20
