"""The lists that clients choose from. Clients read all of them; one without items is empty."""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter, Request

from serve.api.a1111 import models, samplers
from serve.api.a1111.prompts import styles
from serve.api.http.callers import Directly
from serve.ensembles.illustrator.service import FamilyInfo
from serve.state.loras import LoraStore, StoredLora

router = APIRouter()

_NOTHING: tuple[str, ...] = (
    "latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks", "face-restorers",
    "realesrgan-models", "script-info", "extensions",
)  # fmt: skip
_REFRESHED = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")


async def _none() -> list[Any]:
    """There are none yet."""
    return []


async def _as_it_is() -> None:
    """What is served is always up to date."""


def _title(name: str) -> str:
    """Of the last part of a path."""
    return name[0].upper() + name[1:].replace("-", " ")


for _name in _NOTHING:
    router.add_api_route(
        f"/sdapi/v1/{_name}",
        _none,
        name=_name.replace("-", "_"),
        description=f"{_title(_name)}: there are none yet.",
        response_model=models.NoItems,
        response_description="None",
    )
for _name in _REFRESHED:
    router.add_api_route(
        f"/sdapi/v1/{_name}",
        _as_it_is,
        methods=["POST"],
        name=_name.replace("-", "_"),
        description=f"{_title(_name)}: what is served is always up to date.",
        responses=models.NOTHING,
        response_description="It is up to date",
    )


@router.get("/sdapi/v1/sd-models", response_model=list[models.ModelItem], response_description="The default first")
async def sd_models(direct: Directly) -> list[dict[str, Any]]:
    """The models that draw, the default first."""
    return [_model(family) for family in await direct.families()]


@router.get(
    "/sdapi/v1/samplers",
    response_model=list[models.SamplerItem],
    response_description="Their names as clients know them; our own are among the aliases",
)
async def list_samplers(direct: Directly) -> list[dict[str, Any]]:
    """Samplers that any of the models draws with."""
    return samplers.listed(await direct.families())


@router.get("/sdapi/v1/schedulers", response_model=list[models.SchedulerItem], response_description="All of them")
async def list_schedulers() -> list[dict[str, Any]]:
    """Schedules. Karras goes with DPM++ 2M; the others with every sampler."""
    return samplers.schedules()


@router.get("/sdapi/v1/prompt-styles", response_model=list[models.StyleItem], response_description="By category/name")
async def prompt_styles() -> list[dict[str, Any]]:
    """Styles: the templates of GET /api/diffusion/presets."""
    return styles()


@router.get(
    "/sdapi/v1/loras", response_model=list[models.LoraEntry], response_description="In the order of their names"
)
async def list_loras(request: Request) -> list[dict[str, Any]]:
    """The LoRAs of the site, for <lora:NAME:WEIGHT> in prompts."""
    state = request.app.state.state
    stored = [] if state is None else await LoraStore(state).all()
    return [{"name": one.name, "alias": one.name, "path": one.name, "metadata": _metadata(one)} for one in stored]


def _metadata(lora: StoredLora) -> dict[str, str]:
    return {"ss_network_dim": str(lora.rank), "ss_base_model_version": ", ".join(lora.families)}


@router.get("/sdapi/v1/embeddings", response_model=models.EmbeddingsResponse, response_description="There are none yet")
async def embeddings() -> dict[str, Any]:
    """Textual inversions: there are none yet."""
    return {"loaded": {}, "skipped": {}}


@router.get("/sdapi/v1/scripts", response_model=models.ScriptsResponse, response_description="There are none")
async def scripts() -> dict[str, Any]:
    """Scripts by what they are for: there are none."""
    return {"txt2img": [], "img2img": []}


@router.get("/sdapi/v1/cmd-flags", response_model=models.CommandFlagsResponse, response_description="The flags")
async def cmd_flags() -> dict[str, Any]:
    """How a server of that project with the same doors would have been started."""
    return {"api": True, "nowebui": True, "api_server_stop": False}


@router.get("/sdapi/v1/memory", response_model=models.MemoryResponse, response_description="Bytes")
async def memory() -> dict[str, Any]:
    """Memory of the gateway's machine, in bytes. Engines run elsewhere, and their memory with them."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return {"ram": {"free": free, "used": total - free, "total": total}, "cuda": {"error": "unavailable"}}


@router.get("/internal/ping", response_model=models.NoMembers, response_description="The gateway answers")
async def ping() -> dict[str, Any]:
    """Whether the gateway answers, as some clients check."""
    return {}


def _model(family: FamilyInfo) -> dict[str, Any]:
    return {
        "title": family.name,
        "model_name": family.name,
        "hash": family.version,
        "sha256": None,
        "filename": family.name,
        "config": None,
    }
