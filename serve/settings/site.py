"""One frozen tree of settings: defaults, then the site's YAML file, then ``ATELIER_*``, then arguments.

Nothing else in the project reads the environment. ``ATELIER_HTTP__PORT=8001`` sets ``http.port``; ``ATELIER_CONFIG``
(or ``--config``) names the YAML file, whose keys are the section names below. A name that does not exist is an error
everywhere, also in the environment: a misspelt setting is never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from serve.errors import InvalidRequest
from serve.settings.api import (
    DashboardSettings,
    GatewaySettings,
    GrpcSettings,
    HttpSettings,
    LimitsSettings,
    ProxySettings,
    RaySettings,
)
from serve.settings.egress_policy import is_reached_from_elsewhere
from serve.settings.ensembles import IllustratorSettings, PicturesSettings, VectorizerSettings
from serve.settings.mind import DirectorSettings, TasteSettings
from serve.settings.observability import LogsSettings, TracingSettings
from serve.settings.releases import ExperimentSettings, FallbackSettings, FlagSettings, Name
from serve.settings.section import IMPORT_ROOT, IS_INSTALLED, ProjectPath, project_path, setting_error
from serve.settings.security import (
    AccessSettings,
    FetchSettings,
    ModerationSettings,
    PricesSettings,
    ProvenanceSettings,
    QuotasSettings,
    RatesSettings,
    SecretsSettings,
)
from serve.settings.state import (
    BackupSettings,
    CacheSettings,
    DatabaseSettings,
    JobsSettings,
    LorasSettings,
    ObjectsSettings,
    ReferencesSettings,
    WebhookSettings,
)

PREFIX = "ATELIER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"


class Settings(BaseSettings):
    """The whole tree; build it with :func:`load`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    http: HttpSettings = Field(HttpSettings(), description="The HTTP endpoint.")
    grpc: GrpcSettings = Field(GrpcSettings(), description="The gRPC endpoint.")
    access: AccessSettings = Field(AccessSettings(), description="Access: API keys, users, audit.")
    dashboard: DashboardSettings = Field(DashboardSettings(), description="Ray's dashboard.")
    proxy: ProxySettings = Field(ProxySettings(), description="The HAProxy in front of the gateways.")
    ray: RaySettings = Field(RaySettings(), description="The Ray node that `atelier up` starts.")
    limits: LimitsSettings = Field(LimitsSettings(), description="Size limits of requests.")
    rates: RatesSettings = Field(RatesSettings(), description="Rate limits (C-092).")
    quotas: QuotasSettings = Field(QuotasSettings(), description="Quotas per user.")
    prices: PricesSettings = Field(PricesSettings(), description="Prices of CPU and GPU time (D-055).")
    gateway: GatewaySettings = Field(GatewaySettings(), description="The deployment of the API gateways.")
    vectorizer: VectorizerSettings = Field(VectorizerSettings(), description="Image to SVG.")
    illustrator: IllustratorSettings = Field(IllustratorSettings(), description="Prompt to pictures.")
    pictures: PicturesSettings = Field(PicturesSettings(), description="Pictures in answers.")
    moderation: ModerationSettings = Field(ModerationSettings(), description="Moderation of prompts and pictures.")
    provenance: ProvenanceSettings = Field(ProvenanceSettings(), description="Marks of generated pictures.")
    database: DatabaseSettings = Field(DatabaseSettings(), description="The database.")
    objects: ObjectsSettings = Field(ObjectsSettings(), description="Where pictures are kept.")
    references: ReferencesSettings = Field(ReferencesSettings(), description="Pictures of subjects (A-021).")
    loras: LorasSettings = Field(LorasSettings(), description="LoRAs of the site.")
    jobs: JobsSettings = Field(JobsSettings(), description="The queue and its workers.")
    cache: CacheSettings = Field(CacheSettings(), description="Answers that are given again.")
    webhooks: WebhookSettings = Field(WebhookSettings(), description="What tells others about jobs.")
    fetch: FetchSettings = Field(FetchSettings(), description="Pictures that are fetched from URLs.")
    secrets: SecretsSettings = Field(SecretsSettings(), description="What signs and seals.")
    backup: BackupSettings = Field(BackupSettings(), description="Scheduled backups.")
    fallback: FallbackSettings = Field(FallbackSettings(), description="Who draws when the Illustrator cannot (A-100).")
    flags: dict[Name, FlagSettings] = Field(
        {}, description="Feature flags as they begin (A-101): name to enabled, percentage, users."
    )
    experiments: dict[Name, ExperimentSettings] = Field(
        {}, description="A/B tests of models and options (A-102): name to arms, model, flag, min_units."
    )
    director: DirectorSettings = Field(DirectorSettings(), description="The art director.")
    taste: TasteSettings = Field(TasteSettings(), description="What users like, and choices by it.")
    logs: LogsSettings = Field(LogsSettings(), description="What processes write down.")
    tracing: TracingSettings = Field(TracingSettings(), description="OpenTelemetry traces.")
    state_dir: ProjectPath = Field(
        Path("var"),
        description="Folder for what a running stack writes down. Of a package installed from a wheel `var` is the "
        "user's data folder of the platform, such as ~/.local/share/atelier.",
    )
    metrics_file: ProjectPath | None = Field(
        None,
        description="File in which `atelier up` tells Prometheus where the metrics of all machines are; none: "
        "metrics-PORT.json in `state_dir`.",
    )

    @field_validator("access")
    @classmethod
    def _never_open_by_mistake(cls, access: AccessSettings, info: ValidationInfo) -> AccessSettings:
        http = info.data.get("http")
        reached = http is not None and is_reached_from_elsewhere(http.host, http.public_url)
        if reached and access.required == "off" and not access.insecure:
            reason = (
                "required is off, and http.host or http.public_url is not loopback: whoever reaches it could do "
                "everything. Leave "
                "access.required (ATELIER_ACCESS__REQUIRED) at auto and make a key: atelier keys create --role admin. "
                "If something else guards the doors: ATELIER_ACCESS__INSECURE=true"
            )
            raise setting_error("access_off", reason)
        return access

    @model_validator(mode="after")
    def _flags_that_there_are(self) -> Settings:
        named = {"fallback.flag": self.fallback.flag}
        named |= {f"experiments.{name}.flag": one.flag for name, one in self.experiments.items()}
        for field, flag in named.items():
            if flag is not None and flag not in self.flags:
                raise setting_error("no_such_flag", f"{field} names {flag}, which is none of flags")
        links = [step.link for step in self.fallback.steps]
        if len(set(links)) < len(links):
            raise PydanticCustomError("fallback_steps", "fallback.steps has two steps of the same kind and name")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = os.environ.get(CONFIG_VARIABLE)
        site = InitSettingsSource(settings_cls, init_kwargs=_site_values(site_file(Path(config))) if config else {})
        return (init_settings, env_settings, site)


def plain_environment() -> dict[str, str]:
    """This process's, without the site's settings, for programs that have no use for them: some are secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def python_environment() -> dict[str, str]:
    """`plain_environment`, with which another Python process imports this very `serve`."""
    values = plain_environment()
    if not IS_INSTALLED:
        values["PYTHONPATH"] = os.pathsep.join(filter(None, [str(IMPORT_ROOT), values.get("PYTHONPATH")]))
    return values


def site_file(config: Path) -> Path:
    """``config`` where there is such a file; else, of a name such as ``gpu``, the site file that Atelier brings."""
    shipped = project_path(f"deployments/{config}.yaml")
    return shipped if config.parts == (config.name,) and not config.exists() and shipped.is_file() else config


def _site_values(path: Path) -> dict[str, Any]:
    """The settings in a site's file: the file itself, or the arguments of the application in a Ray Serve config."""
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # the error itself quotes the line, and so maybe a password
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        message = f"the settings file {path} cannot be read: {getattr(error, 'problem', None) or 'no YAML'}{where}"
        raise InvalidRequest(message, "config") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest(f"the settings file {path} cannot be read: {reason}", "config") from None
    if isinstance(document, dict) and "applications" in document:
        document = _arguments(document["applications"])
    if not isinstance(document, dict):
        raise InvalidRequest(f"the settings file {path} must hold a mapping", "config")
    return document


def _arguments(applications: Any) -> Any:
    """Of the first application of a Ray Serve config."""
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise InvalidRequest("must be a list of applications, as Ray Serve takes them", "config.applications")
    return applications[0].get("args") or {}


def load(config: Path | None = None, **values: Any) -> Settings:
    """The settings of this process.

    ``config`` names the site's YAML file (also for child processes, by ``ATELIER_CONFIG``); ``values`` win over it and
    over the environment. Raises ``InvalidRequest`` with the setting's dotted name as the field.
    """
    if named := config or os.environ.get(CONFIG_VARIABLE):
        os.environ[CONFIG_VARIABLE] = str(site_file(Path(named)).resolve())
    for variable in os.environ:
        section = variable.removeprefix(PREFIX).split("__")[0].lower()
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE and section not in Settings.model_fields:
            raise InvalidRequest("no such setting; `atelier settings` lists them all", variable)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(str(first["msg"]), ".".join(str(part) for part in first["loc"])) from error
    except SettingsError as error:  # of the environment: it names the section alone
        raise InvalidRequest(f"{error}: a list is written as JSON there, such as '[\"one\"]'", "environment") from error


@dataclass(frozen=True)
class Setting:
    """One leaf of the tree, as `atelier settings` and docs/SETTINGS.md show it."""

    name: str
    value: Any
    default: Any
    help: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace(".", "__")


def leaves(tree: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """Every leaf below ``tree`` in the order of definition, with dotted names."""
    for name, field in type(tree).model_fields.items():
        value = getattr(tree, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, value, field.default, field.description or "")


def to_markdown() -> str:
    """docs/SETTINGS.md: every setting with its variable, default and help."""
    rows = [f"| `{s.name}` | `{s.variable}` | `{s.default}` | {s.help} |" for s in leaves(Settings.model_construct())]
    return "\n".join([_PREAMBLE, "| setting | variable | default | meaning |", "|---|---|---|---|", *rows, ""])


_PREAMBLE = """# Settings

This page lists every setting with its environment variable, default and meaning. It is written by
`atelier settings --markdown`. A YAML file named by `--config` or `ATELIER_CONFIG` holds what differs from
the defaults, nested as the dotted names are; environment variables win over it, with lists as JSON
(`'["one"]'`). A name that does not exist is an error.
"""
