"""AUTOMATIC1111's names of samplers and schedules, and ours.

There a sampler and a schedule are named apart, and what used to be one name ("DPM++ 2M Karras") is still taken. Of ours
one has a schedule of its own, the Karras sigmas of DPM++ 2M, which are also what "DPM++ 2M" means there by itself.
Source: ``modules/sd_samplers.py`` and ``modules/sd_schedulers.py`` of that project, version 1.10.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from serve.diffusion.samplers import SAMPLERS, Sampler, by_name
from serve.diffusion.schedules import KARRAS_RHO
from serve.ensembles.illustrator.illustration import FamilyInfo
from serve.ensembles.illustrator.provenance import AUTOMATIC, KARRAS, UNIFORM, sampler_and_schedule
from serve.errors import InvalidRequest, NotFound

_OFFERED = {AUTOMATIC: -1.0, UNIFORM: -1.0, KARRAS: KARRAS_RHO}
"""Schedules and their default rho."""
_KNOWN = (
    *_OFFERED, "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Align Your Steps", "Simple", "Normal",
    "DDIM", "Beta", "Turbo",
)  # fmt: skip
_LONGEST = 128
_AT_THE_END = re.compile(rf"(.+?) ({'|'.join(_KNOWN)})", re.IGNORECASE)


def resolved(name: str | None, schedule: str | None, family: FamilyInfo) -> tuple[Sampler, list[str]]:
    """The sampler, and what a client should know about it. Raises NotFound for a name that is none of a sampler.

    ``name`` None is the family's own sampler, as it is. A schedule that is not offered with the sampler is told, and
    the sampler's own taken: a client cannot know which go together.
    """
    sampler = by_name(family.sampler) if name is None else None
    if name is not None:
        sampler, at_the_end = _parted(name)
        schedule = at_the_end or schedule
    if sampler is None:
        raise NotFound("Sampler not found")
    wanted = _key(schedule or "")
    plain, karras = _twins(sampler)
    if wanted in ("", _key(AUTOMATIC)):
        by_itself = sampler if name is None else karras if karras and karras.name in family.samplers else plain
        return by_itself, []
    if wanted == _key(KARRAS) and karras is not None:
        return karras, []
    if wanted == _key(UNIFORM):
        return plain, []
    return plain, [f"scheduler {(schedule or '')[:_LONGEST]!a} is not offered with {plain.title}; its own is used"]


def listed(families: Sequence[FamilyInfo]) -> list[dict[str, Any]]:
    """What any of ``families`` draws with."""
    served = {name for family in families for name in family.samplers}
    found: dict[str, dict[str, Any]] = {}
    for sampler in SAMPLERS:
        if sampler.name in served:
            title, schedule = sampler_and_schedule(sampler)
            one = found.setdefault(title, {"name": title, "aliases": [], "options": {}})
            one["aliases"] += [sampler.name, *sampler.aliases]
            if schedule == KARRAS:
                one["options"]["scheduler"] = KARRAS.lower()
    return list(found.values())


def schedules() -> list[dict[str, Any]]:
    return [
        {"name": label.lower(), "label": label, "aliases": None, "default_rho": rho, "need_inner_model": False}
        for label, rho in _OFFERED.items()
    ]


def _parted(name: str) -> tuple[Sampler | None, str | None]:
    """The sampler, and the schedule at the end of its name."""
    parts = _AT_THE_END.fullmatch(name[:_LONGEST])
    if parts is not None and (sampler := _sampler(parts[1])) is not None:
        return sampler, parts[2]
    found = _sampler(name)
    return found, KARRAS if found is not None and sampler_and_schedule(found)[1] == KARRAS else None


def _sampler(name: str) -> Sampler | None:
    try:
        return by_name(name)
    except InvalidRequest:
        return None


def _twins(sampler: Sampler) -> tuple[Sampler, Sampler | None]:
    """The same without Karras sigmas, and with them, if there is such a one."""
    plain, _ = sampler_and_schedule(sampler)
    by_title = {one.title: one for one in SAMPLERS}
    return by_title[plain], by_title.get(f"{plain} {KARRAS}")


def _key(label: str) -> str:
    return re.sub(r"[\s_-]+", "", label[:_LONGEST]).casefold()
