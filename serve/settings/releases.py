"""Settings of fallback, feature flags and experiments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from serve.settings.section import MEBIBYTE, Section, ServiceUrl


class BreakerSettings(Section):
    failures: int = Field(5, ge=1, le=10_000, description="Failures in the window before the breaker may open.")
    share: float = Field(0.5, ge=0, le=1, description="Share of failures among the calls in the window, also required.")
    window_s: float = Field(60.0, gt=0, le=86_400, description="How long a failure counts.")
    wait_s: float = Field(15.0, gt=0, le=86_400, description="How long an open breaker waits before a probe.")


NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
Name = Annotated[str, Field(pattern=NAME)]


class FallbackStep(Section):
    """A fallback backend. ``name`` identifies it in answers."""

    kind: Literal["model", "openai", "bedrock"]
    model: str = Field(pattern=r"^[!-~]{1,256}$")
    name: Name | None = None
    base_url: ServiceUrl | None = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")] | None = None
    api_key: SecretStr | None = None
    """For Bedrock: ``ACCESS_KEY_ID:SECRET_ACCESS_KEY``, optionally followed by ``:SESSION_TOKEN``, or an API key."""
    secret: Name | None = None
    """Name of the stored secret (`atelier secrets set`) to use instead."""
    sizes: tuple[Annotated[str, Field(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")], ...] = ()
    """Supported sizes as WIDTHxHEIGHT; empty: known from the model, or any."""
    timeout_s: float = Field(60.0, gt=0, le=3600)

    @model_validator(mode="after")
    def _whole(self) -> FallbackStep:
        lacks = {"model": None, "openai": "base_url", "bedrock": "region"}[self.kind]
        if lacks is not None and getattr(self, lacks) is None:
            raise PydanticCustomError("fallback_step", "a step of the kind {kind} needs {lacks}", {
                "kind": self.kind, "lacks": lacks,
            })  # fmt: skip
        if self.kind != "model" and self.name is None:
            raise PydanticCustomError("fallback_step", "a step outside needs a name")
        if self.api_key is not None and self.secret is not None:
            raise PydanticCustomError("fallback_step", "api_key and secret say the same; leave one out")
        return self

    @property
    def link(self) -> str:
        """Its name in answers, after ``fallback:``."""
        return f"{self.kind}:{self.name or self.model}"


class FallbackSettings(Section):
    steps: tuple[FallbackStep, ...] = Field(
        (), max_length=8, description="Backends tried in order when the Illustrator fails; see docs/FALLBACK.md."
    )
    flag: Name | None = Field(
        None, description="Flag of users served by the Illustrator first; others get the steps first. None: all."
    )
    primary_timeout_s: float | None = Field(
        None, gt=0, le=3600, description="Timeout of the Illustrator before the steps; none: its full time."
    )
    max_bytes: int = Field(
        20 * MEBIBYTE, ge=1024, le=256 * MEBIBYTE, description="Largest picture of an external service."
    )
    at_once: int = Field(4, ge=1, le=1000, description="Concurrent pictures per external service and process.")
    breaker: BreakerSettings = Field(
        BreakerSettings(), description="When the circuit breaker of a failing backend opens."
    )


class FlagSettings(Section):
    enabled: bool = True
    percentage: float = Field(100.0, ge=0, le=100)
    users: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field((), max_length=1000)
    """Users with the flag regardless of the percentage."""


class ArmSettings(Section):
    """``options``: request fields set by the arm, such as ``model`` or ``guidance_scale``."""

    weight: float = Field(0.5, gt=0, le=1_000_000)
    options: dict[Literal["model", "num_inference_steps", "guidance_scale", "guidance_rescale", "sampler",
                          "negative_prompt"], str | int | float] = {}  # noqa: RUF012 - pydantic copies it  # fmt: skip


class ExperimentSettings(Section):
    arms: dict[Name, ArmSettings] = Field(min_length=2, max_length=8)
    model: str | None = None
    """Requests for this model take part; None: requests that name none."""
    flag: Name | None = None
    """Flag of the users who take part; None: all."""
    min_units: int = Field(30, ge=2, le=1_000_000)
    """Minimum of users (or anonymous requests) per arm before arms are compared."""
