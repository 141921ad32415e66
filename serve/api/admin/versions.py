"""For who runs the site: the versions of its engines (D-083, D-091)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from serve.api.admin import versions_schema as schema
from serve.api.admin.quality import Admin
from serve.api.http.bodies import read_json
from serve.api.http.ownership import actor_of
from serve.api.http.stateful import StateOf
from serve.api.http.values import refuse_unknown
from serve.api.native.conversion import SiteSettings
from serve.errors import InvalidRequest
from serve.releases.rollouts import changes
from serve.releases.rollouts.report import compared
from serve.releases.rollouts.rollout import Rollout
from serve.releases.rollouts.site import listed
from serve.settings import Settings

router = APIRouter(prefix="/api/admin/models", dependencies=[Admin])

EnginePath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$", description="Of the model repository.")]


@router.get("", openapi_extra=schema.LIST)
async def list_models(state: StateOf) -> dict[str, Any]:
    """Every version of every engine, and who gets it."""
    return {"models": [asdict(one) for one in await listed(state)]}


@router.post("/{engine}/load", openapi_extra=schema.LOAD)
async def load(request: Request, engine: EnginePath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Have every replica load and examine a version. It gets no traffic yet. 409 with the reason when it is not fit."""
    version = _version(await _body(request, settings, "version"))
    return _told(await changes.load(state, engine, version, actor_of(request)))


@router.post("/{engine}/split", openapi_extra=schema.SPLIT)
async def split(request: Request, engine: EnginePath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Give the loaded candidate to a percentage of the users, always the same ones."""
    percentage = (await _body(request, settings, "percentage")).get("percentage")
    if isinstance(percentage, bool) or not isinstance(percentage, int | float) or not 0 <= percentage <= 100:
        raise InvalidRequest("must be a number from 0 to 100", "percentage")
    return _told(await changes.split(state, engine, percentage, actor_of(request)))


@router.post("/{engine}/promote", openapi_extra=schema.PROMOTE)
async def promote(request: Request, engine: EnginePath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Serve a version to all, once every replica has examined it. 409 with the reason when it is not fit."""
    values = await _body(request, settings, "version")
    version = _version(values) if "version" in values else None
    return _told(await changes.promote(state, engine, version, actor_of(request)))


@router.post("/{engine}/rollback", openapi_extra=schema.ROLLBACK)
async def rollback(request: Request, engine: EnginePath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Give a version no more traffic, at once: a candidate's split ends; in place of the current version, the one
    before it is served again. Sent twice, it does nothing more; without a version, the second time is a 409."""
    values = await _body(request, settings, "version")
    version = _version(values) if "version" in values else None
    return _told(await changes.rollback(state, engine, version, actor_of(request)))


@router.post("/{engine}/unload", openapi_extra=schema.UNLOAD)
async def unload(request: Request, engine: EnginePath, state: StateOf, settings: SiteSettings) -> dict[str, Any]:
    """Have every replica drop a version that is not the current one."""
    version = _version(await _body(request, settings, "version"))
    return _told(await changes.unload(state, engine, version, actor_of(request)))


@router.get("/{engine}/report", openapi_extra=schema.REPORT)
async def report(engine: EnginePath, state: StateOf) -> dict[str, Any]:
    """How the versions of an engine fare side by side, with 95 % confidence intervals."""
    return await compared(state.database, engine)


async def _body(request: Request, settings: Settings, *known: str) -> dict[str, Any]:
    values = await read_json(request, settings.limits)
    refuse_unknown(values, known)
    return values


def _version(values: dict[str, Any]) -> str:
    version = values.get("version")
    if not isinstance(version, str):
        raise InvalidRequest('must be text, such as "2"', "version")
    return version


def _told(rollout: Rollout) -> dict[str, Any]:
    return {name: getattr(rollout, name) for name in ("engine", "current", "previous", "candidate", "percentage")}
