"""Which of our samplers a checkpoint's scheduler asks for, and what the UNet predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from build_engines.illustrate.refusal import Refused
from serve.diffusion.samplers import Sampler, by_name
from serve.diffusion.schedules import NoiseSchedule
from serve.errors import InvalidRequest

_NEAREST = {
    "PNDMScheduler": "dpmpp_2m",
    "DPMSolverSinglestepScheduler": "dpmpp_2m",
    "DEISMultistepScheduler": "unipc",
    "LMSDiscreteScheduler": "euler",
    "DDPMScheduler": "euler_a",
    "KDPM2DiscreteScheduler": "heun",
    "KDPM2AncestralDiscreteScheduler": "euler_a",
    "TCDScheduler": "lcm",
}
"""Schedulers without a sampler of their own here, on the same betas, and the sampler that comes nearest."""


@dataclass(frozen=True)
class Schedule:
    """``prediction_type``: epsilon, v_prediction or flow. ``notes`` say what is not as the checkpoint has it."""

    prediction_type: str
    sampler: str
    few_step: bool
    notes: tuple[str, ...]


def read_schedule(config: dict[str, Any], distilled: bool) -> Schedule:
    """From scheduler_config.json; ``distilled``: the UNet has a guidance embedding (LCM). Raises Refused."""
    name = str(config.get("_class_name"))
    flow = name == "FlowMatchEulerDiscreteScheduler"
    prediction = "flow" if flow else str(config.get("prediction_type") or "epsilon")
    try:
        schedule = NoiseSchedule(**{**config, "prediction_type": prediction})
        sampler, notes = _sampler(name, config)
        sampler.check(schedule.prediction_type)
    except (ValueError, InvalidRequest) as error:
        raise Refused(f"the scheduler {name} cannot be served: {error}") from error
    return Schedule(prediction, sampler.name, distilled or _few_step(name, config), notes)


def _sampler(name: str, config: dict[str, Any]) -> tuple[Sampler, tuple[str, ...]]:
    if name in _NEAREST:
        nearest = by_name(_NEAREST[name])
        return nearest, (f"{name} has no sampler here; {nearest.title} is the default in its place",)
    sampler = by_name(name)
    algorithm = config.get("algorithm_type", "dpmsolver++")
    if name == "DPMSolverMultistepScheduler" and config.get("use_karras_sigmas"):
        sampler = by_name("dpmpp_2m_karras")
    if name == "DPMSolverMultistepScheduler" and algorithm != "dpmsolver++":
        return sampler, (f"{name} with algorithm_type {algorithm} has no sampler here; {sampler.title} is the default",)
    return sampler, ()


def _few_step(name: str, config: dict[str, Any]) -> bool:
    """Whether the checkpoint is of the turbo, lightning or LCM kind, which draw in 1 to 8 steps without guidance.

    Their configurations say so by an LCM or TCD scheduler, or by an Euler scheduler that ends at the last timestep
    (sd-turbo, sdxl-turbo); ``few_step`` in atelier.json corrects a guess.
    """
    euler = name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    trailing = config.get("timestep_spacing") == "trailing" and not config.get("rescale_betas_zero_snr")
    return name in ("LCMScheduler", "TCDScheduler") or (
        euler and trailing and config.get("prediction_type") != "v_prediction"
    )
