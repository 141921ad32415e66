"""How much noise there is at which timestep: betas, sigmas, Karras sigmas, flow sigmas, spacing, where img2img starts.

A sample at some level of noise is ``alpha * x0 + sigma * noise``. Three conventions of (alpha, sigma) are in use:
variance preserving (alpha² + sigma² = 1), variance exploding (alpha = 1), and rectified flow (alpha = 1 - sigma).
Everything here is float64; diffusers computes the same in float32, which accounts for differences of about 1e-6.

Sources: Ho et al. 2020 (betas), Karras et al. 2022, eq. 5 (Karras sigmas), Lin et al. 2023, table 2 and algorithm 1
(spacing, zero terminal SNR), Esser et al. 2024, section 5.3.2 (shift of flow sigmas).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.errors import InvalidRequest

Floats = npt.NDArray[np.float64]
PredictionType = Literal["epsilon", "v_prediction", "flow"]
Spacing = Literal["leading", "trailing", "linspace"]

KARRAS_RHO = 7.0
CLOSE_TO_ZERO_ALPHA_CUMPROD = 2.0**-24
"""Replaces zero where a sigma would be infinite, as in diffusers."""
FLOW_SIGMA_MAX = float(np.float32(1 - 1e-6))
"""Largest sigma of a flow: at 1 the log-SNR that DPM++ and UniPC step in would be infinite. diffusers' value."""

# Options of diffusers' schedulers that would change the picture and are not implemented, with their neutral values.
_NOT_IMPLEMENTED: dict[str, tuple[Any, ...]] = {
    "trained_betas": (None,),
    "thresholding": (None, False),
    "interpolation_type": (None, "linear"),
    "timestep_type": (None, "discrete"),
    "final_sigmas_type": (None, "zero"),
    "use_exponential_sigmas": (None, False),
    "use_beta_sigmas": (None, False),
    "use_lu_lambdas": (None, False),
    "use_dynamic_shifting": (None, False),
    "invert_sigmas": (None, False),
    "shift_terminal": (None,),
    "sigma_min": (None,),
    "sigma_max": (None,),
}


class FewStep(BaseModel):
    """A few long steps that the model was taught beside its usual ones: how many, and what is added to the timestep."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1, le=16)
    timestep_offset: float = Field(gt=0, le=1_000_000)


class NoiseSchedule(BaseModel):
    """A checkpoint's scheduler config: what of it the samplers use.

    ``timestep_spacing`` and ``set_alpha_to_one`` are None where the config leaves them to the scheduler's class.
    Keys that no sampler here reads are ignored, those that would change the picture and are not implemented refused.
    ``clip_sample`` is ignored: latents are not pixels, and diffusers' pipelines turn it off.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    prediction_type: PredictionType
    num_train_timesteps: int = Field(1000, ge=1, le=100_000)
    beta_start: float | None = Field(None, gt=0, lt=1)
    beta_end: float | None = Field(None, gt=0, lt=1)
    beta_schedule: Literal["linear", "scaled_linear"] = "linear"
    steps_offset: int = Field(0, ge=0)
    timestep_spacing: Spacing | None = None
    set_alpha_to_one: bool | None = None
    rescale_betas_zero_snr: bool = False
    use_karras_sigmas: bool = False
    original_inference_steps: int = Field(50, ge=1)
    timestep_scaling: float = Field(10.0, gt=0)
    shift: float = Field(1.0, gt=0)
    few_step: FewStep | None = None
    """Of a flow; Euler's method draws so when it has just as many steps, without guidance unless it is asked for."""

    @model_validator(mode="before")
    @classmethod
    def _as_diffusers_reads_it(cls, config: Any) -> Any:
        """Drop nulls and defaults of other classes, as ``from_config`` does; refuse unknown options."""
        if not isinstance(config, dict):
            return config
        for name, harmless in _NOT_IMPLEMENTED.items():
            if config.get(name) not in harmless:
                raise ValueError(f"{name} = {config[name]!r} is not implemented by any sampler of this project")
        defaults = {*(config.get("_use_default_values") or ())} - {"prediction_type"}
        return {name: value for name, value in config.items() if value is not None and name not in defaults}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.prediction_type != "flow" and (self.beta_start is None or self.beta_end is None):
            raise ValueError("beta_start and beta_end are required unless the model predicts a flow")
        if self.few_step is not None and self.prediction_type != "flow":
            raise ValueError("few_step is of models that predict a flow")
        if self.rescale_betas_zero_snr and self.prediction_type == "epsilon":
            raise ValueError("rescale_betas_zero_snr needs a model that predicts v: at zero SNR epsilon tells nothing")
        return self


def betas(schedule: NoiseSchedule) -> Floats:
    """Shape (num_train_timesteps,): the variance added per timestep."""
    start, end = schedule.beta_start, schedule.beta_end
    if start is None or end is None:
        raise ValueError("a flow has no betas")
    power = 2.0 if schedule.beta_schedule == "scaled_linear" else 1.0
    variances: Floats = np.linspace(start ** (1 / power), end ** (1 / power), schedule.num_train_timesteps) ** power
    return variances


@lru_cache(maxsize=64)
def alphas_cumprod(schedule: NoiseSchedule) -> Floats:
    """Shape (num_train_timesteps,), falling, read-only: alpha² of the variance preserving convention."""
    cumprod: Floats = np.cumprod(1.0 - betas(schedule))
    if schedule.rescale_betas_zero_snr:
        root = np.sqrt(cumprod)
        cumprod = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    cumprod.setflags(write=False)
    return cumprod


@lru_cache(maxsize=64)
def train_sigmas(schedule: NoiseSchedule) -> Floats:
    """Shape (num_train_timesteps,), rising, read-only: sigma of the variance exploding convention."""
    cumprod = alphas_cumprod(schedule).copy()
    if schedule.rescale_betas_zero_snr:
        cumprod[-1] = CLOSE_TO_ZERO_ALPHA_CUMPROD
    sigmas: Floats = np.sqrt((1.0 - cumprod) / cumprod)
    sigmas.setflags(write=False)
    return sigmas


def sigmas_at(schedule: NoiseSchedule, timesteps: Floats) -> Floats:
    """Sigma (variance exploding) at ``timesteps``, which need not be whole."""
    sigmas = train_sigmas(schedule)
    return np.interp(timesteps, np.arange(len(sigmas)), sigmas)


def timesteps_at(schedule: NoiseSchedule, sigmas: Floats) -> Floats:
    """The inverse of ``sigmas_at``, interpolated in log sigma."""
    log_sigmas = np.log(train_sigmas(schedule))
    return np.interp(np.log(sigmas), log_sigmas, np.arange(len(log_sigmas)))


def karras_sigmas(sigma_max: float, sigma_min: float, steps: int) -> Floats:
    """Shape (steps,), falling from ``sigma_max`` to ``sigma_min``."""
    low, high = sigma_min ** (1 / KARRAS_RHO), sigma_max ** (1 / KARRAS_RHO)
    ramp: Floats = (high + np.linspace(0, 1, steps) * (low - high)) ** KARRAS_RHO
    return ramp


def flow_sigmas(schedule: NoiseSchedule, steps: int) -> Floats:
    """Shape (steps,), falling from 1: evenly spaced and shifted towards noise when ``shift`` > 1; timestep = sigma * T.

    The smallest is shifted twice, as in diffusers' FlowMatchEulerDiscreteScheduler.
    """
    smallest = _shifted(np.array([1 / schedule.num_train_timesteps]), schedule.shift)[0]
    return _shifted(np.linspace(1.0, smallest, steps), schedule.shift)


def few_step_sigmas(schedule: NoiseSchedule, steps: int) -> Floats:
    """Shape (steps,), falling from 1: evenly spaced down to 0, which is not among them, and shifted."""
    return _shifted(np.linspace(1.0, 0.0, steps, endpoint=False), schedule.shift)


def _shifted(sigmas: Floats, shift: float) -> Floats:
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def spaced_timesteps(
    schedule: NoiseSchedule, steps: int, default: Spacing, *, whole: bool = True, skip_last: bool = False
) -> Floats:
    """Shape (steps,), falling: the timesteps of the model evaluations.

    ``default`` is the spacing when the config names none. ``whole`` rounds linspace (the other two are whole);
    ``skip_last`` spaces one more and leaves out the last, as the multistep solvers do. Equal to diffusers except where
    that is undefined: timesteps past the last trained one become that one, and where ``skip_last`` would then
    repeat a timestep, in which the solvers divide by zero, they are evenly spaced and not whole.
    """
    total, points = schedule.num_train_timesteps, steps + skip_last
    spacing = schedule.timestep_spacing or default
    if spacing == "linspace":
        spaced = np.linspace(0, total - 1, points)[::-1][:steps]
        spaced = spaced.round() if whole else spaced
    elif spacing == "leading":
        spaced = (np.arange(points) * (total // points))[::-1][:steps] + float(schedule.steps_offset)
    else:
        spaced = np.arange(total, 0, -total / steps).round()[:steps] - 1.0
    spaced = np.clip(spaced, 0, total - 1)
    if skip_last and (np.diff(spaced) >= 0).any():
        return np.linspace(total - 1, 0, steps + 1)[:-1]
    return spaced


def check_steps(schedule: NoiseSchedule, steps: int) -> None:
    """Raises ``InvalidRequest`` unless ``steps`` is a whole number from 1 to ``num_train_timesteps``."""
    most = schedule.num_train_timesteps
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise InvalidRequest(f"must be a whole number from 1 to {most}", "num_inference_steps")


def first_step(steps: int, strength: float) -> int:
    """The step that img2img starts at: the last ``int(steps * strength)`` are done, at least one.

    ``strength`` is above 0 and at most 1; 1 does all steps. Raises ``InvalidRequest`` otherwise.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise InvalidRequest("must be a number above 0 and at most 1", "strength")
    return steps - max(1, int(steps * strength))
