"""Which arm a request has: its user's, always the same; of somebody who is not known, the request's own.

A request is in one experiment at most, the first in the settings that it fits: whose model it asks for, whose options
it leaves open, and of which every arm could serve it. So arms differ in nothing but what the experiment is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.illustration import FamilyInfo, IllustrateOptions
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest
from serve.releases.experiments.exposures import Exposure
from serve.releases.flags.flag import share
from serve.releases.flags.store import Flags
from serve.settings import ArmSettings, ExperimentSettings

_OPEN: Mapping[str, Any] = {"negative_prompt": "", "guidance_rescale": 0.0}
"""What a request has that leaves these open; of the other options, None."""


_TEXTS = ("model", "sampler", "negative_prompt")


class Experiments:
    """Of one process. Raises InvalidRequest for an arm with options that no request may have."""

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
        """``request`` as its arm has it; which one is decided by its ``unit`` (`serve.releases.flags.flag.unit_of`)."""
        for name, experiment in self._settings.items():
            if not _fits(request.options, experiment, families):
                continue
            if experiment.flag is not None and not await self._flags.is_on(experiment.flag, unit):
                continue
            arm = arm_of(name, experiment, unit)
            options = _with(request.options, experiment.arms[arm])
            return replace(request, options=options), Exposure(name, arm, user_id)
        return request, None


def arm_of(name: str, experiment: ExperimentSettings, unit: str) -> str:
    """By the arms' weights, in the order of the settings."""
    place = share(f"experiment {name}", unit) * sum(arm.weight for arm in experiment.arms.values())
    for arm, settings in experiment.arms.items():
        place -= settings.weight
        if place < 0:
            return arm
    return next(reversed(experiment.arms))  # sums of fractions are not exact


def _fits(options: IllustrateOptions, experiment: ExperimentSettings, families: Sequence[FamilyInfo]) -> bool:
    default = families[0].name if families else None
    if options.model != experiment.model and not (options.model is None and default == experiment.model):
        return False
    named = {name for arm in experiment.arms.values() for name in arm.options} - {"model"}
    if any(getattr(options, name) != _OPEN.get(name) for name in named):
        return False
    return all(_can_serve(_with(options, arm), families) for arm in experiment.arms.values())


def _with(options: IllustrateOptions, arm: ArmSettings) -> IllustrateOptions:
    given: dict[str, Any] = dict(arm.options.items())
    return replace(options, **given)


def _check(field: str, arm: ArmSettings) -> None:
    try:
        made = _with(IllustrateOptions("a prompt"), arm)
        if made.sampler is not None:
            by_name(made.sampler)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field) from None
    if any(isinstance(value, str) != (name in _TEXTS) for name, value in arm.options.items()):
        raise InvalidRequest("has text where a number belongs, or a number where text does", field)


def _can_serve(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> bool:
    family = next((one for one in families if options.model in (None, one.name)), None)
    if family is None:
        return False
    if any(side is not None and family.nearest(side) != side for side in (options.width, options.height)):
        return False
    try:
        return options.sampler is None or by_name(options.sampler).name in family.samplers
    except InvalidRequest:
        return False
