"""Assignment of requests to experiment arms: fixed per user; per request for anonymous users.

A request is in at most one experiment: the first in the settings that matches its model, whose options it leaves open,
and of which every arm could serve it. So arms differ only in what the experiment varies.
The arm of each generation, its exposure, is written in the transaction that writes the generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.service import FamilyInfo, family_of
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest
from serve.releases.flags import Flags, share
from serve.settings import ArmSettings, ExperimentSettings
from serve.state.tables import exposures, utc_now

EXPOSURES: dict[str, sa.Insert] = {
    "sqlite": sqlite.insert(exposures).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(exposures).on_conflict_do_nothing(),
}
"""By dialect. Idempotent: another attempt at the same generation changes nothing."""


@dataclass(frozen=True)
class Exposure:
    experiment: str
    arm: str
    user_id: str


async def expose(connection: AsyncConnection, made: Sequence[Exposure], generation_id: str) -> None:
    """Writes `exposure_rows`."""
    if rows := exposure_rows(made, generation_id):
        await connection.execute(EXPOSURES[connection.dialect.name], rows)


def exposure_rows(made: Sequence[Exposure], generation_id: str) -> list[dict[str, Any]]:
    """The rows of `EXPOSURES`."""
    return [
        {
            "experiment": exposure.experiment, "generation_id": generation_id, "arm": exposure.arm,
            "user_id": exposure.user_id, "created_at": utc_now(),
        }
        for exposure in made
    ]  # fmt: skip


_UNSET: Mapping[str, Any] = {"negative_prompt": "", "guidance_rescale": 0.0}
"""Values that mean "not set" for these options; for all others it is None."""


_TEXTS = ("model", "sampler", "negative_prompt")


class Experiments:
    """Experiments of one process. Raises InvalidRequest for an arm with invalid options."""

    def __init__(self, settings: Mapping[str, ExperimentSettings], flags: Flags) -> None:
        for name, experiment in settings.items():
            for arm, one in experiment.arms.items():
                _check(f"experiments.{name}.arms.{arm}.options", one)
        self._settings = settings
        self._flags = flags

    async def assign(
        self,
        request: IllustrateRequest,
        user_id: str,
        families: Sequence[FamilyInfo],
        unit: str,
    ) -> tuple[IllustrateRequest, Exposure | None]:
        """``request`` with the options of its arm, chosen by ``unit`` (`serve.releases.flags.unit_of`)."""
        for name, experiment in self._settings.items():
            if not _applies(request.options, experiment, families):
                continue
            if experiment.flag is not None and not await self._flags.is_on(experiment.flag, unit):
                continue
            arm = assign_arm(name, experiment, unit)
            options = _apply_arm(request.options, experiment.arms[arm])
            return replace(request, options=options), Exposure(name, arm, user_id)
        return request, None


def assign_arm(name: str, experiment: ExperimentSettings, unit: str) -> str:
    """Weighted choice, in the order of the settings."""
    place = share(f"experiment {name}", unit) * sum(arm.weight for arm in experiment.arms.values())
    for arm, settings in experiment.arms.items():
        place -= settings.weight
        if place < 0:
            return arm
    return next(reversed(experiment.arms))  # rounding: the sum of fractions is not exact


def _applies(options: IllustrateOptions, experiment: ExperimentSettings, families: Sequence[FamilyInfo]) -> bool:
    family = family_of(options, families)
    if options.model != experiment.model and (
        options.model is not None or family is None or family.name != experiment.model
    ):
        return False
    named = {name for arm in experiment.arms.values() for name in arm.options} - {"model"}
    if any(getattr(options, name) != _UNSET.get(name) for name in named):
        return False
    return all(_can_serve(_apply_arm(options, arm), families) for arm in experiment.arms.values())


def _apply_arm(options: IllustrateOptions, arm: ArmSettings) -> IllustrateOptions:
    changes: dict[str, Any] = dict(arm.options.items())
    return replace(options, **changes)


def _check(field: str, arm: ArmSettings) -> None:
    try:
        made = _apply_arm(IllustrateOptions("a prompt"), arm)
        if made.sampler is not None:
            by_name(made.sampler)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field) from None
    if any(isinstance(value, str) != (name in _TEXTS) for name, value in arm.options.items()):
        raise InvalidRequest("has text where a number belongs, or a number where text does", field)


def _can_serve(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> bool:
    family = family_of(options, families)
    if family is None:
        return False
    if any(side is not None and family.nearest(side) != side for side in (options.width, options.height)):
        return False
    try:
        return options.sampler is None or by_name(options.sampler).name in family.samplers
    except InvalidRequest:
        return False
