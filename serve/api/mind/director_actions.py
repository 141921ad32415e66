"""Confirming and declining the actions that the art director proposes, `POST /api/llm/act` (C-074)."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.callers import KEY
from serve.api.http.models import validate
from serve.api.http.ownership import check_own, owner_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.jobs.dependencies import JobServicesOf
from serve.api.jobs.request_models import JobHeaders, JobRequestBody
from serve.api.jobs.requests import order_of, parse_jobs
from serve.api.mind.director_models import ActRequest, ActResponse
from serve.api.openapi.operation import CONFLICT, UNKNOWN
from serve.ensembles.illustrator.illustration import no_illustrator_error
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.errors import Conflict, NotFound
from serve.state import conversations
from serve.state.conversations import Conversation
from serve.state.gallery import Generation, get_generation

router = APIRouter(prefix="/api/llm")


@router.post(
    "/act", response_model=ActResponse, response_description="What became of it", responses={**CONFLICT, **UNKNOWN}
)
async def act(body: ActRequest, request: Request, state: StateOf, services: JobServicesOf) -> Response:
    """Confirm or decline an action that the art director proposed: drawing, varying or vectorising, by the queue.

    It happens with the caller's rights, limits and quotas, once: the action is the idempotency key of its jobs.
    """
    user_id = owner_of(request, body.user_id, "userId")
    status = "done" if body.confirm else "declined"
    found: dict[str, Any] = {}

    def take(now: Conversation) -> dict[str, Any]:
        messages = [dict(one) for one in now.messages]
        action = _action(messages, body.action_id)
        if action["status"] != "proposed":
            raise Conflict(f"is {action['status']} already", "actionId")
        found.update(action)
        action["status"] = status
        return {"messages": messages}

    await conversations.change(state.database, body.conversation_id, user_id, take)
    jobs: list[str] = []
    if body.confirm:
        try:
            jobs = await _start(found, request, services, user_id)
        except BaseException:
            with contextlib.suppress(NotFound):
                await conversations.change(
                    state.database, body.conversation_id, user_id, lambda now: _put_back(now, body.action_id)
                )
            raise
        if found["tool"] != "vectorise":
            with contextlib.suppress(NotFound):  # deleted meanwhile: the jobs go on
                await conversations.change(
                    state.database, body.conversation_id, user_id, lambda _: {"generation_id": jobs[0]}
                )
    content = {"conversationId": body.conversation_id, "actionId": body.action_id, "status": status, "jobIds": jobs}
    return render(content, 200, None)


def _action(messages: list[dict[str, Any]], action_id: str) -> dict[str, Any]:
    """That of ``messages``, which are changed by changing it. Raises NotFound."""
    for message in messages:
        action = message["metadata"].get("action")
        if action is not None and action["id"] == action_id:
            message["metadata"] = {**message["metadata"], "action": dict(action)}
            changed: dict[str, Any] = message["metadata"]["action"]
            return changed
    raise NotFound("there is no such action in this conversation", "actionId")


def _put_back(now: Conversation, action_id: str) -> dict[str, Any]:
    messages = [dict(one) for one in now.messages]
    _action(messages, action_id)["status"] = "proposed"
    return {"messages": messages}


def _variation(made: Generation) -> IllustrateRequest:
    """The request of ``made`` with a random seed, for one picture. Raises Conflict for what was not drawn."""
    stored = from_json(made.parameters) if made.kind == "illustrate" else None
    if not isinstance(stored, IllustrateRequest) or not stored.options.draws:
        raise Conflict("is of a generation that was not drawn from a prompt", "actionId")
    options = replace(stored.options, seed=None, n=1, engine_versions={})
    return replace(stored, options=options, seed_named=False)


async def _start(action: dict[str, Any], request: Request, services: JobServicesOf, user_id: str) -> list[str]:
    """The ids of the jobs. Raises what `POST /v1/jobs` does."""
    arguments, tool = action["arguments"], action["tool"]
    document: dict[str, Any] = {"user_id": user_id}
    headers = validate(JobHeaders, {KEY: f"act:{action['id']}"})
    if tool == "draw":
        document |= {"kind": "illustrate", "input": dict(arguments)}
    elif tool == "vectorise":
        await check_own(request, "result", [arguments["result_id"]], "actionId")
        document |= {"kind": "vectorize", "input": {"result_id": arguments["result_id"]}}
    else:
        await check_own(request, "generation", [arguments["generation_id"]], "actionId")
        if request.app.state.illustrator is None:
            raise no_illustrator_error()
        made = await get_generation(services.state.database, arguments["generation_id"])
        fields = validate(JobRequestBody, {**document, "kind": "illustrate", "input": {"prompt": made.prompt or "-"}})
        order = order_of(fields, headers, headers.fal_priority, request, services.state.settings)
        return list((await services.queue.add_batch([_variation(made)] * arguments["count"], order)).ids)
    body = validate(JobRequestBody, document)
    jobs = await parse_jobs(body, headers, request, services.state)
    if jobs.is_batch:
        return list((await services.queue.add_batch(jobs.requests, jobs.order)).ids)
    return list((await services.queue.add(jobs.requests[0], jobs.order)).ids)
