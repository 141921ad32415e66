"""What there is to choose from. Clients ask for all of it; where there is nothing, a list is empty."""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter

from serve.api.a1111 import lists_schema, samplers
from serve.api.a1111.prompts import styles
from serve.api.http.callers import Directly
from serve.ensembles.illustrator.illustration import FamilyInfo

router = APIRouter()

_NOTHING: tuple[str, ...] = (
    "loras", "upscalers", "latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks", "face-restorers",
    "realesrgan-models", "script-info", "extensions",
)  # fmt: skip
_REFRESHED = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")


async def _none() -> list[Any]:
    """There are none yet."""
    return []


async def _as_it_is() -> None:
    """What is served is always up to date."""


for _name in _NOTHING:
    router.add_api_route(
        f"/sdapi/v1/{_name}",
        _none,
        name=_name.replace("-", "_"),
        description=f"{lists_schema.words(_name)}: there are none yet.",
        openapi_extra=lists_schema.NONE_YET,
    )
for _name in _REFRESHED:
    router.add_api_route(
        f"/sdapi/v1/{_name}",
        _as_it_is,
        methods=["POST"],
        name=_name.replace("-", "_"),
        description=f"{lists_schema.words(_name)}: what is served is always up to date.",
        openapi_extra=lists_schema.UP_TO_DATE,
    )


@router.get("/sdapi/v1/sd-models", openapi_extra=lists_schema.MODELS)
async def sd_models(direct: Directly) -> list[dict[str, Any]]:
    """The models that draw, the default first."""
    return [_model(family) for family in await direct.families()]


@router.get("/sdapi/v1/samplers", openapi_extra=lists_schema.SAMPLERS)
async def list_samplers(direct: Directly) -> list[dict[str, Any]]:
    """Samplers that any of the models draws with."""
    return samplers.listed(await direct.families())


@router.get("/sdapi/v1/schedulers", openapi_extra=lists_schema.SCHEDULERS)
async def list_schedulers() -> list[dict[str, Any]]:
    """Schedules. Karras goes with DPM++ 2M; the others with every sampler."""
    return samplers.schedules()


@router.get("/sdapi/v1/prompt-styles", openapi_extra=lists_schema.STYLES)
async def prompt_styles() -> list[dict[str, Any]]:
    """Styles: the templates of GET /api/diffusion/presets."""
    return styles()


@router.get("/sdapi/v1/embeddings", openapi_extra=lists_schema.EMBEDDINGS)
async def embeddings() -> dict[str, Any]:
    """Textual inversions: there are none yet."""
    return {"loaded": {}, "skipped": {}}


@router.get("/sdapi/v1/scripts", openapi_extra=lists_schema.SCRIPTS)
async def scripts() -> dict[str, Any]:
    """Scripts by what they are for: there are none."""
    return {"txt2img": [], "img2img": []}


@router.get("/sdapi/v1/cmd-flags", openapi_extra=lists_schema.CMD_FLAGS)
async def cmd_flags() -> dict[str, Any]:
    """How a server of that project with the same doors would have been started."""
    return {"api": True, "nowebui": True, "api_server_stop": False}


@router.get("/sdapi/v1/memory", openapi_extra=lists_schema.MEMORY)
async def memory() -> dict[str, Any]:
    """Memory of the gateway's machine, in bytes. Engines run elsewhere, and their memory with them."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return {"ram": {"free": free, "used": total - free, "total": total}, "cuda": {"error": "unavailable"}}


@router.get("/internal/ping", openapi_extra=lists_schema.PING)
async def ping() -> dict[str, Any]:
    """Some clients look here whether there is anybody."""
    return {}


@router.get("/controlnet/version", openapi_extra=lists_schema.CONTROLNET_VERSION)
async def controlnet_version() -> dict[str, Any]:
    """The version of ControlNet: 0, for there is none."""
    return {"version": 0}


@router.get("/controlnet/model_list", openapi_extra=lists_schema.CONTROLNET_MODELS)
async def controlnet_models() -> dict[str, Any]:
    """ControlNet's models: there are none yet."""
    return {"model_list": []}


@router.get("/controlnet/module_list", openapi_extra=lists_schema.CONTROLNET_MODULES)
async def controlnet_modules() -> dict[str, Any]:
    """ControlNet's preprocessors: there are none yet."""
    return {"module_list": [], "module_detail": {}}


@router.get("/controlnet/control_types", openapi_extra=lists_schema.CONTROLNET_TYPES)
async def controlnet_types() -> dict[str, Any]:
    """Kinds of control: there are none yet."""
    return {"control_types": {}}


def _model(family: FamilyInfo) -> dict[str, Any]:
    return {
        "title": family.name,
        "model_name": family.name,
        "hash": family.version,
        "sha256": None,
        "filename": family.name,
        "config": None,
    }
