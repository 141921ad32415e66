"""AUTOMATIC1111's names of samplers and schedules, mapped to `serve.diffusion.samplers`.

AUTOMATIC1111 names a sampler and a schedule separately, and still accepts the former joint names ("DPM++ 2M Karras").
Here one sampler has a schedule of its own: DPM++ 2M with Karras sigmas, which "DPM++ 2M" alone means there too.
Source: ``modules/sd_samplers.py`` and ``modules/sd_schedulers.py`` of that project, version 1.10.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from serve.diffusion.samplers import SAMPLERS, Sampler, by_name
from serve.diffusion.schedules import KARRAS_RHO
from serve.ensembles.illustrator.provenance import AUTOMATIC, KARRAS, UNIFORM, sampler_and_schedule
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest, NotFound

_OFFERED = {AUTOMATIC: -1.0, UNIFORM: -1.0, KARRAS: KARRAS_RHO}
"""Schedules and their default rho."""
_SCHEDULE_NAMES = (
    *_OFFERED, "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Align Your Steps", "Simple", "Normal",
    "DDIM", "Beta", "Turbo",
)  # fmt: skip
_MAX_CHARACTERS = 128
_SAMPLER_AND_SCHEDULE = re.compile(rf"(.+?) ({'|'.join(_SCHEDULE_NAMES)})", re.IGNORECASE)


def resolved(name: str | None, schedule: str | None, family: FamilyInfo) -> tuple[Sampler, list[str]]:
    """The sampler, and notes for the client. Raises NotFound for an unknown name.

    ``name`` None means the family's own sampler. A schedule that the sampler does not offer is replaced by the
    sampler's own, with a note: a client cannot know which combinations exist.
    """
    sampler = by_name(family.sampler) if name is None else None
    if name is not None:
        sampler, joint_schedule = _split(name)
        schedule = joint_schedule or schedule
    if sampler is None:
        raise NotFound("Sampler not found")
    key = _key(schedule or "")
    plain, karras = _variants(sampler)
    if key in ("", _key(AUTOMATIC)):
        default = sampler if name is None else karras if karras and karras.name in family.samplers else plain
        return default, []
    if key == _key(KARRAS) and karras is not None:
        return karras, []
    if key == _key(UNIFORM):
        return plain, []
    return plain, [
        f"scheduler {(schedule or '')[:_MAX_CHARACTERS]!a} is not offered with {plain.title}; its own is used"
    ]


def listed(families: Sequence[FamilyInfo]) -> list[dict[str, Any]]:
    """The samplers that any of ``families`` offers."""
    served = {name for family in families for name in family.samplers}
    items: dict[str, dict[str, Any]] = {}
    for sampler in SAMPLERS:
        if sampler.name in served:
            title, schedule = sampler_and_schedule(sampler)
            item = items.setdefault(title, {"name": title, "aliases": [], "options": {}})
            item["aliases"] += [sampler.name, *sampler.aliases]
            if schedule == KARRAS:
                item["options"]["scheduler"] = KARRAS.lower()
    return list(items.values())


def schedules() -> list[dict[str, Any]]:
    return [
        {"name": label.lower(), "label": label, "aliases": None, "default_rho": rho, "need_inner_model": False}
        for label, rho in _OFFERED.items()
    ]


def _split(name: str) -> tuple[Sampler | None, str | None]:
    """The sampler, and the schedule at the end of a joint name."""
    parts = _SAMPLER_AND_SCHEDULE.fullmatch(name[:_MAX_CHARACTERS])
    if parts is not None and (sampler := _sampler(parts[1])) is not None:
        return sampler, parts[2]
    sampler = _sampler(name)
    return sampler, KARRAS if sampler is not None and sampler_and_schedule(sampler)[1] == KARRAS else None


def _sampler(name: str) -> Sampler | None:
    try:
        return by_name(name)
    except InvalidRequest:
        return None


def _variants(sampler: Sampler) -> tuple[Sampler, Sampler | None]:
    """The sampler without Karras sigmas, and with them if that exists."""
    plain, _ = sampler_and_schedule(sampler)
    by_title = {one.title: one for one in SAMPLERS}
    return by_title[plain], by_title.get(f"{plain} {KARRAS}")


def _key(label: str) -> str:
    return re.sub(r"[\s_-]+", "", label[:_MAX_CHARACTERS]).casefold()
