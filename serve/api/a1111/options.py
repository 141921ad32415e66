"""``options``: what a client chooses for all of its requests. Here it is the user's choice, and nobody else's.

Clients read all of them and send all of them back (Open WebUI). Those that mean something here are taken; the others
are told because clients look for them, and what is sent for them is ignored. A gateway remembers the choices of the
users that chose last, until it is started again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request

from serve.api.a1111.progress_registry import Desks, ProgressRegistry
from serve.api.a1111.schema import GET_OPTIONS, SET_OPTIONS
from serve.api.http.bodies import read_json
from serve.api.http.callers import Directly, caller_of
from serve.api.http.drawing import chosen
from serve.api.http.values import choice, flag, text
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.illustration import FamilyInfo
from serve.errors import NotFound
from serve.settings import Settings

router = APIRouter(prefix="/sdapi/v1")

CHECKPOINT = "sd_model_checkpoint"
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
_FIXED: Mapping[str, Any] = {
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
    "sd_lora": "None",
    "return_grid": False,
    "show_progress_type": "Approx NN",
}


def named(families: Sequence[FamilyInfo], title: str) -> FamilyInfo | None:
    """The family that ``title`` means: its name, with a file's ending or a hash as others write it."""
    plain = title.partition(" [")[0].removesuffix(".safetensors").removesuffix(".ckpt")
    return next((family for family in families if family.name in (title, plain)), None)


def read(values: Mapping[str, Any], families: Sequence[FamilyInfo]) -> tuple[dict[str, Any], list[str]]:
    """Those of ``values`` that mean something, checked, and names of checkpoints that there are none of."""
    found: dict[str, Any] = {}
    unknown = []
    title = text(values, CHECKPOINT)
    if title is not None:
        family = named(families, title)
        unknown = [] if family else [title]
        found |= {CHECKPOINT: family.name} if family else {}
    if values.get("samples_format"):
        found["samples_format"] = choice(values, "samples_format", FORMATS, "png")
    for name in ("live_previews_enable", "enable_pnginfo"):
        if values.get(name) is not None:
            found[name] = flag(values, name)
    return found, unknown


def options_of(
    desk: ProgressRegistry,
    user_id: str,
    families: Sequence[FamilyInfo],
    settings: Settings,
    override: Mapping[str, Any] = {},
) -> tuple[dict[str, Any], list[str]]:
    """All that hold for a request of the user's that says ``override``, and what it names that is not there."""
    told, unknown = read(override, families)
    standing = desk.chosen_by(user_id)
    options: dict[str, Any] = {
        "samples_format": "png",
        "live_previews_enable": True,
        "enable_pnginfo": settings.pictures.embed_metadata,
    }
    options |= {**standing, **told}
    family = chosen(families, options.get(CHECKPOINT)) if families else None
    options[CHECKPOINT] = family.name if family else None
    return options, unknown


@router.get("/options", openapi_extra=GET_OPTIONS)
async def get_options(request: Request, direct: Directly, desk: Desks, settings: SiteSettings) -> dict[str, Any]:
    """The options that hold for the caller's requests."""
    families = await direct.families()
    options, _ = options_of(desk, caller_of(request).user_id, families, settings)
    family = named(families, options[CHECKPOINT] or "")
    return {**options, "sd_checkpoint_hash": family.version if family else None, **_FIXED}


@router.post("/options", openapi_extra=SET_OPTIONS)
async def set_options(request: Request, direct: Directly, desk: Desks, settings: SiteSettings) -> None:
    """Chooses options for the caller's requests that follow. A checkpoint that is not there is 404."""
    user_id = caller_of(request).user_id
    found, unknown = read(await read_json(request, settings.limits), await direct.families())
    if unknown:
        raise NotFound(f"model {unknown[0][:128]!a} not found")
    if found:
        desk.choose(user_id, found)
