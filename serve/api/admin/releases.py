"""Routes for administrators: circuit breakers and fallback, feature flags, experiments (A-100 to A-102)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, WrapValidator

from serve.api.admin.quality import Admin
from serve.api.http.bodies import CappedRoute
from serve.api.http.models import RequestModel, Time, one_of, reported_as_one
from serve.api.http.ownership import actor_of
from serve.api.http.stateful import StateOf
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import UNKNOWN
from serve.ensembles.requests import VECTORIZE
from serve.releases.experiments.report import report_of
from serve.releases.fallback.circuit_breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker
from serve.releases.fallback.illustrator import FallbackIllustrator
from serve.releases.fallback.wrappers import WatchedVectorizer
from serve.releases.flags import Flag, Flags
from serve.settings import NAME, FlagSettings

router = APIRouter(prefix="/api/admin", dependencies=[Admin], route_class=CappedRoute)

FlagPath = Annotated[str, Path(pattern=NAME, description="One of `GET /api/admin/flags`.")]
ExperimentPath = Annotated[str, Path(pattern=NAME, description="As the settings name it.")]
Seconds = Annotated[float, Field(ge=0, description="seconds")]
Share = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False, description="of all users")]
"""Percent."""


class BreakerInfo(BaseModel):
    name: Annotated[str, Field(examples=["illustrate"])]
    state: Annotated[str, one_of([CLOSED, OPEN, HALF_OPEN])]
    ended: Annotated[int, Field(description="in the window", examples=[120])]
    failed: Annotated[int, Field(examples=[0])]
    wait_s: Annotated[float, Field(ge=0, description="seconds that it stays open", examples=[0])]


class FallbackResponse(BaseModel):
    chain: list[BreakerInfo]
    watched: Annotated[
        list[BreakerInfo], Field(description="what is left alone while it fails, with nobody in its place")
    ] = []
    flag: Annotated[str | None, Field(description="of the users whom the Illustrator serves; null: all")]
    window_s: Seconds


class FlagInfo(BaseModel):
    name: Annotated[str, Field(examples=["new-model"])]
    enabled: bool
    percentage: Annotated[Share, Field(examples=[25])]
    users: Annotated[list[str], Field(description="who have it beside them", examples=[["ada"]])]


class FlagsResponse(BaseModel):
    flags: list[FlagInfo]


class FlagChange(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True, "percentage": 25, "users": ["ada"]}]})
    kept_empty: ClassVar = ("enabled", "percentage", "users")

    enabled: StrictBool = True
    percentage: Share = 100.0
    users: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        WrapValidator(reported_as_one),
        Field(max_length=1000),
    ] = Field(default_factory=list)


class Estimate(BaseModel):
    value: Annotated[float | None, Field(examples=[0.42])]
    low: Annotated[float | None, Field(examples=[0.35])]
    high: Annotated[float | None, Field(examples=[0.49])]
    n: Annotated[int, Field(examples=[214])]
    units: Annotated[int, Field(examples=[96])]


class Metrics(BaseModel):
    """Of `serve.releases.experiments.report`."""

    conversion_rate: Estimate
    error_rate: Estimate
    mean_rating: Estimate
    mean_quality: Estimate
    mean_time_s: Estimate


_UNITS = "users, and requests of unknown users"


class ArmInfo(BaseModel):
    arm: Annotated[str, Field(examples=["control"])]
    weight: float
    users: Annotated[int, Field(examples=[90])]
    units: Annotated[int, Field(description=_UNITS, examples=[96])]
    generations: Annotated[int, Field(examples=[214])]
    metrics: Metrics


class ExperimentResponse(BaseModel):
    experiment: Annotated[str, Field(examples=["more-steps"])]
    confidence: Annotated[float, Field(examples=[0.95])]
    since: Time | None
    until: Time | None
    enough: bool
    note: Annotated[str | None, Field(description="why arms are not compared yet")]
    arms: list[ArmInfo]
    difference: Annotated[Metrics | None, Field(description="of two arms: the second less the first")]


class ExperimentsResponse(BaseModel):
    experiments: list[ExperimentResponse]


@router.get(
    "/fallback",
    response_model=FallbackResponse,
    response_model_exclude_unset=True,
    response_description="Their breakers",
)
async def fallback(request: Request, settings: SiteSettings) -> dict[str, Any]:
    """The Illustrator's fallback chain and the circuit breaker of each step, as the process that answers sees them."""
    illustrator, vectorizer = request.app.state.illustrator, request.app.state.service
    breakers = illustrator.breakers if isinstance(illustrator, FallbackIllustrator) else {}
    content: dict[str, Any] = {"chain": [_breaker(name, breaker) for name, breaker in breakers.items()]}
    if isinstance(vectorizer, WatchedVectorizer):
        content["watched"] = [_breaker(VECTORIZE, vectorizer.breaker)]
    return {**content, "flag": settings.fallback.flag, "window_s": settings.fallback.breaker.window_s}


def _breaker(name: str, breaker: CircuitBreaker) -> dict[str, Any]:
    ended, failed = breaker.counts()
    wait_s = round(breaker.wait_s, 3)
    return {"name": name, "state": breaker.state, "ended": ended, "failed": failed, "wait_s": wait_s}


@router.get("/flags", response_model=FlagsResponse, response_description="All of them")
async def list_flags(state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Every feature flag as it is now."""
    return {"flags": [_flag(flag) for flag in (await Flags(settings.flags, state.database).read()).values()]}


@router.put("/flags/{name}", response_model=FlagInfo, response_description="As it is now", responses=UNKNOWN)
async def put_flag(
    body: FlagChange, request: Request, name: FlagPath, state: StateOf, settings: SiteSettings
) -> dict[str, Any]:
    """Change a flag that the settings name; every process sees it within seconds."""
    flag = FlagSettings(enabled=body.enabled, percentage=body.percentage, users=tuple(body.users))
    return _flag(await Flags(settings.flags, state.database).put(name, flag, actor_of(request)))


@router.delete("/flags/{name}", response_model=FlagInfo, response_description="As it is now", responses=UNKNOWN)
async def reset_flag(request: Request, name: FlagPath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Set a flag back to what the settings say."""
    return _flag(await Flags(settings.flags, state.database).reset(name, actor_of(request)))


@router.get("/experiments", response_model=ExperimentsResponse, response_description="All of them")
async def experiments(state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Every experiment that the settings name, with the figures of its arms."""
    reports = [await report_of(state.database, name, settings.experiments) for name in settings.experiments]
    return {"experiments": [one.to_json() for one in reports]}


@router.get(
    "/experiments/{name}", response_model=ExperimentResponse, response_description="Its arms", responses=UNKNOWN
)
async def experiment(name: ExperimentPath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """The figures of an experiment's arms, with 95 % confidence intervals."""
    return (await report_of(state.database, name, settings.experiments)).to_json()


def _flag(flag: Flag) -> dict[str, Any]:
    return {
        "name": flag.name, "enabled": flag.enabled, "percentage": flag.percentage, "users": sorted(flag.users),
    }  # fmt: skip
