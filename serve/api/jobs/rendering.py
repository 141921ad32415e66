"""Jobs, events and batches as JSON. Times are ISO 8601 in UTC, addresses whole URLs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from serve import errors
from serve.api.http.urls import address, result_url, shown_url, thumbnail_url
from serve.api.jobs.models import BRIEF_PROMPT, JobResult
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.errors import AtelierError, EngineFailure, Gone, error_from_record
from serve.jobs.queue.events import Event
from serve.jobs.queue.views import JobStatus, JobView, ResultView
from serve.settings import Settings
from serve.state.job_states import CANCELLED, COMPLETED, FAILED, PROCESSING, TERMINAL

_COPIED = (
    "id", "user_id", "kind", "lane", "status", "wish", "priority", "prompt", "position", "estimated_s", "progress",
    "attempt", "batch_id", "retried_from", "cached", "error", "details", "generation_time_s",
)  # fmt: skip


def links_of(job_id: str, settings: Settings) -> dict[str, str]:
    """The addresses by fal's names, and those of the events."""
    own = address(settings, f"/v1/jobs/{job_id}")
    return {
        "request_id": job_id,
        "status_url": f"{own}/status",
        "response_url": f"{own}/result",
        "cancel_url": f"{own}/cancel",
        "events_url": shown_url(settings, f"/v1/jobs/{job_id}/events"),
        "socket_url": shown_url(settings, f"/v1/jobs/{job_id}/ws").replace("http", "ws", 1),
    }


def job_of(view: JobView, settings: Settings) -> dict[str, Any]:
    """As `JobInfo`. ``last_event`` is the number of the newest event that it includes."""
    return {
        **{name: getattr(view, name) for name in _COPIED},
        **_stage(view.id, view.stage, settings),
        "last_event": view.events,
        "parameters": _parameters(view.parameters),
        "results": [_result(one, settings) for one in view.results],
        "created_at": time_of(view.created_at),
        "started_at": time_of(view.started_at),
        "completed_at": time_of(view.completed_at),
        "expires_at": time_of(view.expires_at),
        **links_of(view.id, settings),
    }


def status_of(view: JobView | JobStatus, settings: Settings) -> dict[str, Any]:
    """The status in fal's terms: ``queue_position`` counts the jobs ahead; COMPLETED includes failed and cancelled."""
    document: dict[str, Any] = {
        "status": "COMPLETED"
        if view.status in TERMINAL
        else "IN_PROGRESS"
        if view.status == PROCESSING
        else "IN_QUEUE",
        "queue_position": None if view.position is None else view.position - 1,
        "logs": [],
        **links_of(view.id, settings),
    }
    if view.status in (FAILED, CANCELLED):
        document |= {"error": error_of(view).message, "error_type": (view.error or {}).get("type", "Cancelled")}
    return document


def result_of(view: JobView, settings: Settings) -> dict[str, Any]:
    """As `JobResult`."""
    job = job_of(view, settings)
    return {name: job[name] for name in JobResult.model_fields}


def event_of(job_id: str, event: Event, settings: Settings) -> dict[str, Any]:
    """The same document for server-sent events, polling and WebSockets. ``data`` has the job's state at that time."""
    data = {name: value for name, value in event.data.items() if name not in _STAGE}
    data |= _stage(job_id, event.data, settings) | {"at": time_of(event.created_at)}
    if event.kind == COMPLETED:
        data["response_url"] = links_of(job_id, settings)["response_url"]
    return {"id": event.n, "event": event.kind, "data": data}


def batch_of(views: Sequence[JobView], settings: Settings) -> dict[str, Any]:
    """``counts`` by status; ``progress`` from 0 to 1 over all jobs, where a finished job counts as 1.

    The jobs are in brief form, as there may be many.
    """
    batch_id = views[0].batch_id
    own = address(settings, f"/v1/batches/{batch_id}")
    done = sum(1.0 if view.status in TERMINAL else view.progress for view in views)
    return {
        "id": batch_id,
        "batch_id": batch_id,
        "user_id": views[0].user_id,
        "over": all(view.status in TERMINAL for view in views),
        "progress": done / len(views),
        "counts": dict(Counter(view.status for view in views)),
        "created_at": time_of(views[0].created_at),
        "status_url": own,
        "cancel_url": f"{own}/cancel",
        "download_url": f"{own}/download",
        "jobs": [_brief(view, settings) for view in views],
    }


def _brief(view: JobView, settings: Settings) -> dict[str, Any]:
    """The brief form of a job, with its seed if the request has one."""
    seed = view.parameters.get("options", {}).get("seed")
    return {
        "id": view.id,
        "status": view.status,
        "progress": view.progress,
        "prompt": view.prompt[:BRIEF_PROMPT],
        **({} if seed is None else {"seed": seed}),
        "error": view.error,
        "results": [{"url": result_url(settings, one.id)} for one in view.results],
    }


def error_of(view: JobView | JobStatus) -> AtelierError:
    """The error of a failed or cancelled job."""
    if view.status == CANCELLED:
        return Gone("this job was cancelled")
    record = view.error or {}
    kind = _KINDS.get(str(record.get("type")))
    if kind is None:  # a class that this version does not have
        kind = next((one for one in _KINDS.values() if one.status == record.get("status")), EngineFailure)
    return error_from_record(kind, record)


def time_of(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


_KINDS: Mapping[str, type[AtelierError]] = {
    one.label(): one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, AtelierError) and one is not AtelierError
}
_STAGE = ("step", "steps", "preview")


def _stage(job_id: str, stage: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Steps and preview. A preview's address changes with the preview."""
    name = stage.get("preview")
    url = name and shown_url(settings, f"/v1/jobs/{job_id}/preview", f"v={name[:12]}")
    return {"step": stage.get("step"), "steps": stage.get("steps"), "preview_url": url}


def _parameters(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request's parameters by the names that `POST /v1/jobs` takes."""
    parameters = dict(request.get("options", {}))
    if request.get("kind") == VECTORIZE:
        parameters["time_budget"] = parameters.pop("time_budget_s", None)
        return {**parameters, "input_sha256": str(request.get("image", "")).partition(".")[0]}
    if request.get("kind") != ILLUSTRATE:
        return parameters
    encoding = request["encoding"]
    parameters |= {"output_format": encoding["format"], "output_compression": encoding["quality"]}
    return {**parameters, "metadata": encoding["metadata"], **request["more"]}


def _result(view: ResultView, settings: Settings) -> dict[str, Any]:
    own = {name: value for name, value in vars(view).items() if name != "created_at"}
    urls = {"url": result_url(settings, view.id), "thumbnail_url": thumbnail_url(settings, view.id)}
    return {**own, **urls, "created_at": time_of(view.created_at)}
