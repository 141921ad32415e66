"""For who runs the site: breakers and fallback, feature flags, experiments (A-100 to A-102)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from serve.api.admin import releases_schema as schema
from serve.api.admin.quality import Admin
from serve.api.http.bodies import read_json
from serve.api.http.ownership import actor_of
from serve.api.http.stateful import StateOf
from serve.api.http.values import refuse_unknown
from serve.api.native.conversion import SiteSettings
from serve.ensembles.requests import VECTORIZE
from serve.errors import InvalidRequest
from serve.releases.experiments.report import report_of
from serve.releases.fallback.circuit_breaker import CircuitBreaker
from serve.releases.fallback.illustrator import FallbackIllustrator
from serve.releases.fallback.watched_vectorizer import WatchedVectorizer
from serve.releases.flags.flag import Flag
from serve.releases.flags.store import Flags
from serve.settings import NAME, FlagSettings

router = APIRouter(prefix="/api/admin", dependencies=[Admin])

FlagPath = Annotated[str, Path(pattern=NAME, description="One of `GET /api/admin/flags`.")]
ExperimentPath = Annotated[str, Path(pattern=NAME, description="As the settings name it.")]


@router.get("/fallback", openapi_extra=schema.FALLBACK)
async def fallback(request: Request, settings: SiteSettings) -> dict[str, Any]:
    """Who draws, in turn, and whether each is asked, as the process that answers sees it."""
    illustrator, vectorizer = request.app.state.illustrator, request.app.state.service
    breakers = illustrator.breakers if isinstance(illustrator, FallbackIllustrator) else {}
    told: dict[str, Any] = {"chain": [_breaker(name, found) for name, found in breakers.items()]}
    if isinstance(vectorizer, WatchedVectorizer):
        told["watched"] = [_breaker(VECTORIZE, vectorizer.breaker)]
    return {**told, "flag": settings.fallback.flag, "window_s": settings.fallback.breaker.window_s}


def _breaker(name: str, found: CircuitBreaker) -> dict[str, Any]:
    ended, failed = found.counts()
    return {"name": name, "state": found.state, "ended": ended, "failed": failed, "wait_s": round(found.wait_s, 3)}


@router.get("/flags", openapi_extra=schema.FLAGS)
async def list_flags(state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Every feature flag as it is now."""
    return {"flags": [_told(flag) for flag in (await Flags(settings.flags, state.database).read()).values()]}


@router.put("/flags/{name}", openapi_extra=schema.PUT_FLAG)
async def put_flag(request: Request, name: FlagPath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Change a flag that the settings name; every process sees it within seconds."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, tuple(schema.CHANGES))
    wanted = _wanted(values)
    return _told(await Flags(settings.flags, state.database).put(name, wanted, actor_of(request)))


@router.delete("/flags/{name}", openapi_extra=schema.RESET_FLAG)
async def reset_flag(request: Request, name: FlagPath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Set a flag back to what the settings say."""
    return _told(await Flags(settings.flags, state.database).reset(name, actor_of(request)))


@router.get("/experiments/{name}", openapi_extra=schema.EXPERIMENT)
async def experiment(name: ExperimentPath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """How the arms of an experiment fare, with 95 % confidence intervals."""
    return (await report_of(state.database, name, settings.experiments)).to_json()


def _wanted(values: dict[str, Any]) -> FlagSettings:
    """Raises InvalidRequest naming the field."""
    enabled, percentage, users = values.get("enabled", True), values.get("percentage", 100), values.get("users", [])
    if not isinstance(enabled, bool):
        raise InvalidRequest("must be true or false", "enabled")
    if isinstance(percentage, bool) or not isinstance(percentage, int | float) or not 0 <= percentage <= 100:
        raise InvalidRequest("must be a number from 0 to 100", "percentage")
    if not isinstance(users, list) or len(users) > 1000:
        raise InvalidRequest("must be a list of at most 1000", "users")
    if not all(isinstance(user, str) and 1 <= len(user) <= 256 for user in users):
        raise InvalidRequest("must be a list of ids, each of 1 to 256 characters", "users")
    return FlagSettings(enabled=enabled, percentage=percentage, users=tuple(users))


def _told(flag: Flag) -> dict[str, Any]:
    return {
        "name": flag.name, "enabled": flag.enabled, "percentage": flag.percentage, "users": sorted(flag.users),
    }  # fmt: skip
