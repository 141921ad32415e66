"""Routes for administrators: the versions of the engines (D-083, D-091)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from serve.api.admin.quality import Admin
from serve.api.admin.releases import Metrics, Share
from serve.api.http.bodies import CappedRoute
from serve.api.http.models import RequestModel, Time, Url
from serve.api.http.ownership import actor_of
from serve.api.http.stateful import StateOf
from serve.api.http.urls import address
from serve.api.jobs.dependencies import JobServicesOf
from serve.api.middleware.authentication import principal_of
from serve.api.openapi.operation import CONFLICT, UNKNOWN
from serve.ensembles.requests import RetrainRequest
from serve.ensembles.vectorizer.vectorization import QUALITY
from serve.errors import NotFound
from serve.jobs.queue.insertion import JobOptions
from serve.releases.rollouts import changes
from serve.releases.rollouts.report import compare_versions
from serve.releases.rollouts.site import Rollout, list_versions

router = APIRouter(prefix="/api/admin/models", dependencies=[Admin], route_class=CappedRoute)

EnginePath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$", description="Of the model repository.")]
_NUMBER: dict[str, Any] = {"pattern": "^[1-9][0-9]{0,17}$", "examples": ["2"]}
VersionName = Annotated[str, Field(strict=True, description="the name of its folder", json_schema_extra=_NUMBER)]
EngineName = Annotated[str, Field(examples=["quality"])]
_CHANGED: dict[str, Any] = {"response_description": "As it is now", "responses": {**UNKNOWN, **CONFLICT}}


class VersionInfo(BaseModel):
    engine: EngineName
    version: VersionName
    label: Annotated[str | None, Field(description="as answers have it, in `model_versions`", examples=["1.4"])]
    role: Literal["current", "candidate", "previous", "there"]
    percentage: Annotated[Share, Field(examples=[10])]
    replicas: Annotated[int, Field(description="that have loaded it", examples=[2])]
    of: Annotated[int, Field(description="replicas that have the engine", examples=[2])]
    failure: Annotated[str, Field(description="the reason of a replica that cannot serve it", examples=[""])]


class VersionsResponse(BaseModel):
    models: list[VersionInfo]


class RolloutResponse(BaseModel):
    engine: EngineName
    current: VersionName
    previous: Annotated[str | None, Field(examples=["1"])]
    candidate: Annotated[str | None, Field(examples=[None])]
    percentage: Annotated[Share, Field(description="of users, the candidate's", examples=[10])]


class RetrainingResponse(BaseModel):
    job_id: str
    status_url: Url


class VersionRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "2"}]})
    kept_empty: ClassVar = ("version",)

    version: VersionName


class PromoteRequest(VersionRequest):
    version: Annotated[VersionName, Field(description="else the candidate")] = None  # type: ignore[assignment]


class RollbackRequest(VersionRequest):
    version: Annotated[
        VersionName,
        Field(description="to get no traffic any more; else the candidate, or the current version where there is none"),
    ] = None  # type: ignore[assignment]


class SplitRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"percentage": 10}]})
    kept_empty: ClassVar = ("percentage",)

    percentage: Share


Seconds = Annotated[float | None, Field(description="seconds, without answers from the cache")]


class ComparedVersion(BaseModel):
    version: VersionName
    users: int
    generations: int
    units: Annotated[int, Field(description="users, and requests of unknown users")]
    metrics: Metrics
    p50_time_s: Seconds
    p95_time_s: Seconds


class ReportResponse(BaseModel):
    engine: EngineName
    since: Time | None
    until: Time | None
    enough: bool
    note: Annotated[str | None, Field(description="why versions are not compared yet")]
    versions: list[ComparedVersion]
    difference: Annotated[Metrics | None, Field(description="of two: the second less the first")]


@router.get("", response_model=VersionsResponse, response_description="All of them")
async def list_models(state: StateOf) -> dict[str, Any]:
    """Every version of every engine, and the users that it serves."""
    return {"models": [asdict(version) for version in await list_versions(state)]}


@router.post("/{engine}/load", response_model=RolloutResponse, **_CHANGED)
async def load(body: VersionRequest, request: Request, engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """Have every replica load and examine a version. It gets no traffic yet. 409 with the reason when it is not fit."""
    return _rollout(await changes.load(state, engine, body.version, actor_of(request)))


@router.post("/{engine}/split", response_model=RolloutResponse, **_CHANGED)
async def split(body: SplitRequest, request: Request, engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """Give the loaded candidate to a percentage of the users, always the same ones."""
    return _rollout(await changes.split(state, engine, body.percentage, actor_of(request)))


@router.post("/{engine}/promote", response_model=RolloutResponse, **_CHANGED)
async def promote(body: PromoteRequest, request: Request, engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """Serve a version to all, once every replica has examined it. 409 with the reason when it is not fit."""
    return _rollout(await changes.promote(state, engine, body.version, actor_of(request)))


@router.post("/{engine}/rollback", response_model=RolloutResponse, **_CHANGED)
async def rollback(body: RollbackRequest, request: Request, engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """Give a version no more traffic, at once: a candidate's split ends; in place of the current version, the one
    before it is served again. Sent twice, it does nothing more; without a version, the second time is a 409."""
    return _rollout(await changes.rollback(state, engine, body.version, actor_of(request)))


@router.post("/{engine}/unload", response_model=RolloutResponse, **_CHANGED)
async def unload(body: VersionRequest, request: Request, engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """Have every replica drop a version that is not the current one."""
    return _rollout(await changes.unload(state, engine, body.version, actor_of(request)))


@router.get(
    "/{engine}/report",
    response_model=ReportResponse,
    response_description="Its versions",
    responses={**UNKNOWN, **CONFLICT},
)
async def report(engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """The figures of an engine's versions side by side, with 95 % confidence intervals."""
    return await compare_versions(state.database, engine)


@router.post("/{engine}/retrain", status_code=202, response_model=RetrainingResponse, response_description="The job")
async def retrain(request: Request, engine: EnginePath, services: JobServicesOf) -> dict[str, Any]:
    """Add a job that does the next step of the engine's continuous learning: nothing, a retraining, or the end of a
    trial. Its `details` say which, and why. 404 for engines other than `quality`."""
    if engine != QUALITY:
        raise NotFound(f"only '{QUALITY}' is retrained", "engine")
    added = await services.queue.add(RetrainRequest(), JobOptions(user_id=principal_of(request).acting_user_id(None)))
    return {"job_id": added.ids[0], "status_url": address(services.state.settings, f"/v1/jobs/{added.ids[0]}")}


def _rollout(rollout: Rollout) -> dict[str, Any]:
    return {name: getattr(rollout, name) for name in RolloutResponse.model_fields}
