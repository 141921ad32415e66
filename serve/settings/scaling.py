"""Autoscaling settings of a deployment."""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from serve.settings.section import Section


class AutoscalingSettings(Section):
    """Scales between ``min_replicas`` and ``max_replicas`` of the enclosing section; equal numbers are fixed."""

    target_ongoing_requests: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Requests at work and waiting that one replica is meant for; none: half of what it works on at "
        "once. `python -m loadtests.benchmarks.scaling --knee` measures it.",
    )
    upscale_delay_s: float = Field(5.0, ge=0, le=3600, description="Delay before more replicas are started.")
    downscale_delay_s: float = Field(60.0, ge=0, le=86_400, description="Delay before replicas are stopped.")
    downscale_to_zero_delay_s: float = Field(
        600.0, ge=0, le=86_400, description="The same for the last one, where `min_replicas` is 0."
    )
    metrics_interval_s: float = Field(
        1.0, gt=0, le=60, description="Interval of load reports of replicas and gateways."
    )
    look_back_period_s: float = Field(
        10.0, gt=0, le=3600, description="The time over which that is averaged; longer than the interval."
    )
    upscaling_factor: float = Field(
        1.0, gt=0, le=10, description="Share of the missing replicas that are started at once; below 1 is gentler."
    )
    downscaling_factor: float = Field(
        1.0, gt=0, le=10, description="Share of the spare replicas that are stopped at once; below 1 is gentler."
    )
    initial_replicas: int | None = Field(
        None, ge=0, le=1000, description="Replicas at the start; none: `min_replicas`, but at least one."
    )
    drain_s: float = Field(30.0, ge=0, le=3600, description="How long a stopping replica may finish its work.")
    max_per_machine: int | None = Field(
        None, ge=1, le=100, description="Most replicas on one machine; none: limited by its resources."
    )

    @model_validator(mode="after")
    def _looks_back_over_something(self) -> AutoscalingSettings:
        if self.look_back_period_s <= self.metrics_interval_s:
            raise PydanticCustomError("look_back", "look_back_period_s must be longer than metrics_interval_s")
        return self


class ScaledSection(Section):
    """A deployment with ``min_replicas`` and ``max_replicas``."""

    min_replicas: int
    max_replicas: int
    autoscaling: AutoscalingSettings

    @model_validator(mode="after")
    def _fewest_below_most(self) -> ScaledSection:
        if self.min_replicas > self.max_replicas:
            raise PydanticCustomError("replicas", "min_replicas must not be above max_replicas")
        initial = self.autoscaling.initial_replicas
        if initial is not None and not self.min_replicas <= initial <= self.max_replicas:
            raise PydanticCustomError(
                "replicas", "autoscaling.initial_replicas must be between min_replicas and max_replicas"
            )
        return self
