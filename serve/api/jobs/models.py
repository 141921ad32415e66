"""Models of the answers of the queue's routes. Requests are in `request_models`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve.api.http.models import NextCursor, Time, Url, one_of
from serve.api.jobs.request_models import Status
from serve.state.job_states import COMPLETED

BRIEF_PROMPT = 200
"""Characters of a prompt in the answer about a batch."""
Progress = Annotated[float, Field(ge=0, le=1)]


class Links(BaseModel):
    """By fal's names, and the addresses of the events."""

    request_id: str
    status_url: Url
    response_url: Url
    cancel_url: Url
    events_url: Url
    socket_url: Url


class JobInfo(Links):
    id: str
    user_id: str
    kind: str
    lane: str
    status: Status
    wish: Annotated[
        Literal["cancel", "pause"] | None, Field(description="a request that its worker has still to carry out")
    ]
    priority: int
    prompt: str
    position: Annotated[int | None, Field(description="1 starts next")]
    estimated_s: float | None
    progress: Progress
    attempt: int
    batch_id: str | None
    retried_from: str | None
    cached: bool
    error: dict[str, Any] | None
    details: dict[str, Any] | None
    generation_time_s: float | None
    step: int | None
    steps: int | None
    preview_url: str | None
    last_event: int
    parameters: dict[str, Any]
    results: list[dict[str, Any]]
    created_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    expires_at: Time | None


class JobsPage(BaseModel):
    jobs: list[JobInfo]
    next_cursor: NextCursor


class ResultUrl(BaseModel):
    url: Url


class BriefJob(BaseModel):
    id: str
    status: Status
    progress: Progress
    prompt: Annotated[str, Field(max_length=BRIEF_PROMPT, description="cut short")]
    seed: int = 0
    error: dict[str, Any] | None
    results: list[ResultUrl]


class BatchInfo(BaseModel):
    id: str
    batch_id: str
    user_id: str
    over: Annotated[bool, Field(description="every job is")]
    progress: Progress
    counts: Annotated[dict[str, int], Field(description="jobs by status")]
    created_at: Time | None
    status_url: Url
    cancel_url: Url
    download_url: Url
    jobs: list[BriefJob]


class QueueStatus(Links):
    """In fal's words."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    queue_position: Annotated[int | None, Field(description="jobs that start before it")]
    logs: Annotated[list[Any], Field(max_length=0)]
    error: str = ""
    error_type: str = ""


class JobFile(BaseModel):
    id: str
    media_type: str
    url: Url


class JobResult(BaseModel):
    id: str
    status: Annotated[str, one_of([COMPLETED])]
    kind: str
    cached: bool
    results: list[JobFile]
    details: Any = None
    generation_time_s: float | None
    completed_at: Time | None


class EventInfo(BaseModel):
    id: int
    event: str
    data: dict[str, Any]


class EventsResponse(BaseModel):
    events: Annotated[
        list[EventInfo],
        Field(examples=[[{"id": 2, "event": "processing", "data": {"status": "processing", "progress": 0.0}}]]),
    ]
    last: int
    over: bool


class LaneInfo(BaseModel):
    pending: int
    processing: int
    paused: int
    slots: int
    is_paused: bool


class QueueInfo(BaseModel):
    lanes: dict[str, LaneInfo]
    pending: int
    processing: int
    paused: int


class LaneState(BaseModel):
    lane: Literal["illustrate", "vectorize"]
    is_paused: bool
