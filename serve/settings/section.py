"""Base class and field types of all settings sections, and the folders that relative paths begin from.

A checkout has `model_repository`, `deployments` and `var` beside `serve`. A wheel carries the first two inside the
package, as `serve/data`, where nothing is ever written; its `var` is the platform's data folder of the user, such as
~/.local/share/atelier.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from serve.errors import InvalidRequest
from serve.settings.egress_policy import Destinations, checked

PACKAGE = Path(str(files("serve")))
IMPORT_ROOT = PACKAGE.parent
"""The folder from which another process imports `serve`."""
PACKAGE_DATA = PACKAGE / "data"
IS_INSTALLED = PACKAGE_DATA.is_dir()
"""Whether the package was installed from a wheel. An editable install is a checkout."""
HOME = user_data_path("atelier") if IS_INSTALLED else IMPORT_ROOT
"""The project's folder: relative paths in settings are taken from here, wherever the command was started."""
FOLDERS: Mapping[str, Path] = (
    {
        "model_repository": PACKAGE_DATA / "model_repository",
        "deployments": PACKAGE_DATA / "deployments",
        "studio": PACKAGE_DATA / "studio",
        "var": HOME,
    }
    if IS_INSTALLED
    else {}
)
"""Those of the project's folders that are not in `HOME`, by the name that they have in a checkout."""


def project_path(path: Path | str) -> Path:
    """``path`` as it is, or below the project's folder where it is relative: ``deployments/haproxy`` and
    ``var/backups`` mean the same for a checkout and for an installed package."""
    path = Path(path)
    if not path.is_absolute() and path.parts and path.parts[0] in FOLDERS:
        return FOLDERS[path.parts[0]].joinpath(*path.parts[1:])
    return HOME / path


def numba_environment(state_dir: Path) -> dict[str, str]:
    """The variable with which Numba keeps the machine code of an installed tracer with the state, unless it has one.

    In a checkout it is beside the sources.
    """
    if not IS_INSTALLED or "NUMBA_CACHE_DIR" in os.environ:
        return {}
    return {"NUMBA_CACHE_DIR": str(state_dir / "numba")}


def module_command(module: str) -> list[str]:
    """The command that runs ``module`` in another process. Of an installed package no file of the working folder can
    take a module's place; a checkout may be found through that folder."""
    return [sys.executable, *(["-P"] if IS_INSTALLED else []), "-m", module]


MEBIBYTE = 1024 * 1024


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise PydanticCustomError("network", "must be an address or a network such as 10.0.0.0/8") from error
    return text


def _service_url(url: str) -> str:
    try:
        checked(url, Destinations(plain_http=True, anywhere=True), "base_url")
    except InvalidRequest as error:
        raise setting_error("service_url", error.message) from None
    return url.rstrip("/")


def setting_error(kind: str, reason: str) -> PydanticCustomError:
    """``reason`` may have braces, which a template must not."""
    return PydanticCustomError(kind, "{reason}", {"reason": reason})


ServiceUrl = Annotated[str, AfterValidator(_service_url)]
"""The base URL of a service of the site's choice: any host, http too."""
ProjectPath = Annotated[Path, AfterValidator(project_path)]
Port = Annotated[int, Field(ge=1, le=65535)]
Network = Annotated[str, AfterValidator(_is_network)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


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
