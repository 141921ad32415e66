"""``options``: defaults of a user for all of their requests. Each user has their own.

Clients read all of them and send all of them back (Open WebUI). Those that have an effect here are stored; the others
are in the answer because clients expect them, and their values in a request are ignored. A gateway keeps the options of
the most recent users until it restarts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from serve.api.a1111.models import NOTHING, OptionsRequest, OptionsResponse
from serve.api.a1111.progress_registry import ProgressRegistry, ProgressRegistryOf
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import Directly, UserId
from serve.api.http.drawing import family_for
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import NotFound
from serve.settings import Settings

router = APIRouter(prefix="/sdapi/v1", route_class=CappedRoute)

CHECKPOINT = "sd_model_checkpoint"
NO_OVERRIDE = OptionsRequest()
_FIXED: Mapping[str, Any] = {
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
    "sd_lora": "None",
    "return_grid": False,
    "show_progress_type": "Approx NN",
}


def named(families: Sequence[FamilyInfo], title: str) -> FamilyInfo | None:
    """The family that ``title`` names; a file extension and a hash, as clients add them, are ignored."""
    plain = title.partition(" [")[0].removesuffix(".safetensors").removesuffix(".ckpt")
    return next((family for family in families if family.name in (title, plain)), None)


def resolved(request: OptionsRequest, families: Sequence[FamilyInfo]) -> tuple[dict[str, Any], list[str]]:
    """The options that ``request`` sets, and names of checkpoints that do not exist."""
    options, unknown = request.chosen(), []
    title = options.pop(CHECKPOINT, None)
    if title is not None:
        family = named(families, title)
        unknown = [] if family else [title]
        options |= {CHECKPOINT: family.name} if family else {}
    return options, unknown


def options_of(
    registry: ProgressRegistry,
    user_id: str,
    families: Sequence[FamilyInfo],
    settings: Settings,
    override: OptionsRequest = NO_OVERRIDE,
) -> tuple[dict[str, Any], list[str]]:
    """The options of a user's request with ``override``, without a checkpoint where none is chosen; and the checkpoints
    in it that do not exist."""
    overridden, unknown = resolved(override, families)
    stored = registry.chosen_by(user_id)
    options: dict[str, Any] = {
        "samples_format": "png",
        "live_previews_enable": True,
        "enable_pnginfo": settings.pictures.embed_metadata,
    }
    options |= {**stored, **overridden}
    return options, unknown


@router.get(
    "/options",
    response_model=OptionsResponse,
    response_description="Those that mean something here, and others that clients look for",
)
async def get_options(
    user_id: UserId, direct: Directly, registry: ProgressRegistryOf, settings: SiteSettings
) -> dict[str, Any]:
    """The options that hold for the caller's requests."""
    families = await direct.families()
    options, _ = options_of(registry, user_id, families, settings)
    family = family_for(families, options.get(CHECKPOINT)) if families else None
    name, version = (family.name, family.version) if family else (None, None)
    return {**options, CHECKPOINT: name, "sd_checkpoint_hash": version, **_FIXED}


@router.post("/options", responses=NOTHING, response_description="They are chosen")
async def set_options(body: OptionsRequest, user_id: UserId, direct: Directly, registry: ProgressRegistryOf) -> None:
    """Chooses options for the caller's requests that follow. A checkpoint that is not there is 404."""
    options, unknown = resolved(body, await direct.families())
    if unknown:
        raise NotFound(f"model {unknown[0][:128]!a} not found")
    if options:
        registry.choose(user_id, options)
