"""One frozen tree of settings: defaults, then the site's YAML file, then ``ATELIER_*``, then arguments.

Nothing else in the project reads the environment. ``ATELIER_HTTP__PORT=8001`` sets ``http.port``; ``ATELIER_CONFIG``
(or ``--config``) names the YAML file, whose keys are the section names below. A name that does not exist is an error
everywhere, also in the environment: a misspelt setting is never ignored.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
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
from serve.guards.destinations import Destinations, checked, destinations
from serve.loopback import is_loopback

PREFIX = "ATELIER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
HOME = Path(__file__).resolve().parent.parent
"""The project's folder: relative paths in settings are taken from here, wherever the command was started."""

MEBIBYTE = 1024 * 1024


def _from_home(path: Path) -> Path:
    return path if path.is_absolute() else HOME / path


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise PydanticCustomError("network", "must be an address or a network such as 10.0.0.0/8") from error
    return text


ProjectPath = Annotated[Path, AfterValidator(_from_home)]
Port = Annotated[int, Field(ge=1, le=65535)]
Network = Annotated[str, AfterValidator(_is_network)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class HttpSettings(Section):
    host: str = Field("127.0.0.1", description="Address that HTTP and gRPC listen on. Loopback unless you change it.")
    port: Port = Field(8000, description="HTTP port.")
    public_url: str | None = Field(
        None, description="Where clients reach the HTTP door, for addresses in answers; none: http://host:port."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web origins that browsers may call from (CORS). None by default."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Addresses and networks of proxies that are believed about their clients' addresses."
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for", description="The header in which those proxies tell it; the other one is not looked at."
    )


class GrpcSettings(Section):
    port: Port = Field(9000, description="gRPC port of the open inference protocol, on `http.host`.")


class DashboardSettings(Section):
    enabled: bool = Field(True, description="Whether Ray's dashboard runs.")
    host: str = Field("127.0.0.1", description="Address of Ray's dashboard. It can run code: keep it on loopback.")
    port: Port = Field(8265, description="Port of Ray's dashboard.")


class RaySettings(Section):
    host: str = Field(
        "127.0.0.1",
        description="Address of Ray's own servers, gateways behind HAProxy and HAProxy's metrics: who reaches them can "
        "run code. Loopback unless Ray spans machines.",
    )
    num_cpus: int = Field(0, ge=0, le=4096, description="Logical CPUs that Ray may schedule on; 0 detects them.")
    object_store_memory_bytes: int = Field(
        256 * MEBIBYTE, ge=80 * MEBIBYTE, description="Ray's shared object store. Requests hardly use it."
    )
    temp_dir: ProjectPath | None = Field(None, description="Folder for Ray's logs and sockets; none: Ray's own choice.")
    access_log: bool = Field(False, description="Whether replicas log every request (to Ray's log folder).")
    drain_s: float = Field(2.0, ge=0, le=600, description="How long a stopping gateway goes on answering.")
    start_timeout_s: float = Field(120.0, gt=0, le=3600, description="How long `atelier up` waits for readiness.")


class ProxySettings(Section):
    metrics_port: Port = Field(9101, description="Port of HAProxy's Prometheus metrics, on `ray.host`.")
    stats_port: Port = Field(8404, description="Port of HAProxy's statistics page, on `ray.host`.")
    fallback_http_port: Port = Field(8500, description="Internal: where HAProxy sends HTTP while no gateway is up.")
    fallback_grpc_port: Port = Field(9500, description="Internal: where HAProxy sends gRPC while no gateway is up.")
    threads: int = Field(2, ge=1, le=64, description="Threads of HAProxy.")
    token: SecretStr | None = Field(
        None,
        description="Internal: how gateways know HAProxy, which tells them who calls; none: made at start.",
    )


class LimitsSettings(Section):
    max_body_bytes: int = Field(
        10 * MEBIBYTE,
        ge=1024,
        le=1024 * MEBIBYTE,
        description="Largest file or tensor in a request (C-130); its envelope may add 64 KiB.",
    )
    max_form_fields: int = Field(32, ge=1, le=1000, description="Most fields in one multipart form.")
    max_tensors: int = Field(16, ge=1, le=1000, description="Most input tensors in one inference request.")
    body_timeout_s: float = Field(30.0, gt=0, le=3600, description="How long a request body may take to arrive.")
    gzip_min_bytes: int = Field(1024, ge=0, description="Answers from this size are compressed, if the client asks.")


class CostsSettings(Section):
    read: int = Field(1, ge=0, le=1000, description="What a request that only reads takes of a rate limit.")
    write: int = Field(1, ge=0, le=1000, description="The same for one that changes something and draws nothing.")
    vectorize: int = Field(2, ge=0, le=1000, description="The same for a conversion or an inference.")
    draw: int = Field(5, ge=0, le=1000, description="The same for an illustration, or a job of any kind.")


class RatesSettings(Section):
    per_address: bool = Field(True, description="Whether requests are limited by their client's address.")
    address_requests: int = Field(100, ge=1, le=1_000_000_000, description="Requests of one address (C-092).")
    address_period_s: int = Field(900, ge=1, le=31_536_000, description="In which time; IPv6 counts by /64.")
    per_user: bool = Field(True, description="Whether requests with a user's key are limited by user.")
    user_requests: int = Field(1000, ge=1, le=1_000_000_000, description="Requests of one user (C-092).")
    user_period_s: int = Field(86_400, ge=1, le=31_536_000, description="In which time.")
    users_by_address: bool = Field(True, description="Whether requests of users count for their address too.")
    loopback: bool = Field(
        False, description="Whether clients on this machine, which no proxy speaks for, count by address."
    )
    costs: CostsSettings = Field(CostsSettings(), description="What requests take.")
    redis_url: SecretStr | None = Field(
        None, description="redis://host:port/0, rediss://... or unix://...: counts are there; none: in the database."
    )
    timeout_s: float = Field(0.5, gt=0, le=10, description="Longest wait for the counts; then a gateway counts alone.")
    max_tracked: int = Field(
        20_000, ge=100, le=10_000_000, description="Addresses, and users, that a gateway knows of."
    )


class QuotasSettings(Section):
    max_stored_bytes: int = Field(
        10 * 1024 * MEBIBYTE, ge=0, description="What one user keeps: results and references; 0: no bound."
    )
    max_running: int = Field(0, ge=0, le=100_000, description="Work of one user that is done at once; 0: no bound.")


class GatewaySettings(Section):
    min_replicas: int = Field(1, ge=1, le=1000, description="Fewest gateway replicas.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most gateway replicas.")
    max_ongoing_requests: int = Field(
        512, ge=1, le=100_000, description="Requests that one gateway works on at once; beyond it the answer is 503."
    )
    max_held_bytes: int = Field(
        256 * MEBIBYTE, ge=1024, description="Bodies that one gateway holds at once; beyond it the answer is 503."
    )
    num_cpus: float = Field(0.1, ge=0, le=1024, description="CPUs that Ray reserves for one gateway.")


class ImageLimitsSettings(Section):
    max_bytes: int = Field(10 * MEBIBYTE, ge=1, le=1024 * MEBIBYTE, description="Largest encoded picture (C-130).")
    max_pixels: int = Field(4096 * 4096, ge=1, description="Most pixels of a picture, checked before it is decoded.")
    max_side_px: int = Field(4096, ge=1, description="Longest side of a picture.")
    min_side_px: int = Field(2, ge=1, description="Shortest side of a picture.")


class VectorizerSettings(Section):
    model_repository: ProjectPath = Field(Path("model_repository"), description="Folder with one folder per engine.")
    engines_url: str | None = Field(
        None, description="host:port (gRPC) of an outside Triton; none: each replica runs its own, embedded."
    )
    engine_timeout_s: float = Field(10.0, gt=0, le=600, description="Longest wait for one inference.")
    engine_start_timeout_s: float = Field(30.0, gt=0, le=600, description="Longest wait for the embedded Triton.")
    workers: int = Field(0, ge=0, le=1024, description="Tracing processes per replica; 0: one per core.")
    min_replicas: int = Field(1, ge=1, le=1000, description="Fewest Vectorizer replicas.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most Vectorizer replicas.")
    num_cpus: float = Field(1.0, ge=0, le=1024, description="CPUs that Ray reserves for one replica.")
    max_ongoing_requests: int = Field(32, ge=1, le=10_000, description="Requests that one replica works on at once.")
    max_queued_requests: int = Field(
        256, ge=1, le=100_000, description="Requests that may wait for one replica; beyond it the answer is 503."
    )
    timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest time for one conversion, queueing included.")
    trace_timeout_s: float = Field(20.0, gt=0, le=600, description="Longest tracing; then VTracer takes over.")
    image: ImageLimitsSettings = Field(ImageLimitsSettings(), description="What a picture may measure.")


class IllustratorSettings(Section):
    model_repository: ProjectPath = Field(Path("model_repository"), description="Folder with one folder per engine.")
    families: tuple[str, ...] = Field(
        (), description="Illustration models to serve, the default first; none: all in the repository."
    )
    engines_url: str | None = Field(
        None, description="host:port (gRPC) of an outside Triton; none: each replica runs its own, embedded."
    )
    engine_timeout_s: float = Field(60.0, gt=0, le=3600, description="Longest wait for one step.")
    engine_start_timeout_s: float = Field(120.0, gt=0, le=3600, description="Longest wait for the embedded Triton.")
    min_replicas: int = Field(1, ge=1, le=1000, description="Fewest Illustrator replicas.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most Illustrator replicas.")
    num_cpus: float = Field(0.5, ge=0, le=1024, description="CPUs that Ray reserves for one replica.")
    num_gpus: float = Field(0.0, ge=0, le=64, description="GPUs that Ray reserves for one replica.")
    max_ongoing_requests: int = Field(16, ge=1, le=10_000, description="Requests that one replica draws at once.")
    max_queued_requests: int = Field(
        64, ge=1, le=100_000, description="Requests that may wait for one replica; beyond it the answer is 503."
    )
    timeout_s: float = Field(300.0, gt=0, le=3600, description="Longest time for one request, queueing included.")


class PicturesSettings(Section):
    embed_metadata: bool = Field(
        True, description="Whether pictures tell in their metadata how they were made. A request can say otherwise."
    )
    heartbeat_s: float = Field(10.0, gt=0, le=300, description="Longest silence of a stream of previews.")


class DatabaseSettings(Section):
    url: SecretStr | None = Field(
        None,
        description="sqlite:///path or postgresql://user:password@host/name; none: SQLite in `state_dir`.",
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Longest wait for a connection, a lock, or an answer.")
    connections: int = Field(5, ge=2, le=100, description="Connections that each process keeps.")


class ObjectsSettings(Section):
    url: str | None = Field(
        None,
        description="Where pictures are kept: a folder (file:///path), s3://, gs:// or az://; none: in `state_dir`.",
    )
    options: dict[str, SecretStr] = Field(
        {}, description="Credentials and endpoint of that store, named as `obstore` does, such as `aws_region`."
    )
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for one read or write.")
    keep_unused_h: float = Field(24.0, ge=0.01, le=8760, description="Objects that nothing refers to go after this.")


class ReferencesSettings(Section):
    max_per_user: int = Field(1000, ge=1, le=1_000_000, description="Subject references that one user keeps.")


class JobsSettings(Section):
    workers: int = Field(1, ge=1, le=1000, description="Worker replicas; each has the slots below.")
    slots: dict[str, int] = Field(
        {"illustrate": 4, "vectorize": 2},
        description="Jobs of each lane that one worker does at once.",
    )
    num_cpus: float = Field(0.1, ge=0, le=1024, description="CPUs that Ray reserves for one worker.")
    max_queued: int = Field(100_000, ge=1, description="Jobs that wait in all; beyond it the answer is 429.")
    max_queued_per_user: int = Field(1000, ge=1, description="Jobs of one user that wait; beyond it the answer is 429.")
    max_batch: int = Field(100, ge=1, le=10_000, description="Most jobs in one batch.")
    max_failures: int = Field(3, ge=1, le=100, description="Attempts without any progress before a job has failed.")
    retry_s: float = Field(1.0, gt=0, le=3600, description="First wait before another attempt; it doubles each time.")
    retry_max_s: float = Field(60.0, gt=0, le=86_400, description="Longest wait before another attempt.")
    beat_s: float = Field(2.0, gt=0, le=60, description="How often a worker shows that it lives.")
    lease_s: float = Field(10.0, gt=0, le=600, description="A worker that has not shown it for so long loses its jobs.")
    poll_s: float = Field(0.05, gt=0, le=10, description="How often workers look for jobs, and watchers for events.")
    checkpoint_every: int = Field(5, ge=1, le=1000, description="Steps of a picture between two checkpoints.")
    previews: int = Field(4, ge=0, le=100, description="Previews of each picture of a job, evenly over its steps.")
    progress_s: float = Field(0.25, ge=0, le=60, description="Shortest time between two events about progress.")
    timeout_s: float = Field(3600.0, gt=0, le=86_400, description="Longest time for one attempt.")
    max_watchers: int = Field(256, ge=1, le=100_000, description="Event streams and sockets that one gateway keeps.")
    keep_events_h: float = Field(168.0, gt=0, description="How long events of jobs that ended are kept.")
    keep_keys_h: float = Field(24.0, gt=0, description="How long an idempotency key stands for its request.")
    abandoned_s: float = Field(
        2.0, ge=0, le=60, description="How long a direct request goes on without its client, which may ask again."
    )


class CacheSettings(Section):
    enabled: bool = Field(True, description="Whether the same request gets the stored answer.")
    ttl_h: float = Field(24.0, gt=0, description="How long generated pictures and drawings are answered from it.")
    max_bytes: int = Field(2048 * MEBIBYTE, ge=0, description="What it may hold; the longest unused goes first.")
    preset_ttl_h: float = Field(24.0, gt=0, description="The same for prompt presets.")
    analysis_ttl_h: float = Field(1.0, gt=0, description="The same for analyses of prompts and choices of models.")
    preferences_ttl_h: float = Field(0.5, gt=0, description="The same for users' preferences.")


def webhook_key(secret: SecretStr) -> bytes:
    """What signs webhooks. Raises ValueError for a secret that Standard Webhooks would not take."""
    prefix, key = "whsec_", b""
    text = secret.get_secret_value()
    with contextlib.suppress(ValueError):
        key = base64.b64decode(text.removeprefix(prefix), validate=True)
    if not text.startswith(prefix) or not 24 <= len(key) <= 64:
        told = "must be whsec_ and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)"
        raise PydanticCustomError("webhook_secret", told)
    return key


def _signing(secret: SecretStr) -> SecretStr:
    webhook_key(secret)
    return secret


class WebhookSettings(Section):
    secret: Annotated[SecretStr, AfterValidator(_signing)] | None = Field(
        None, description="Signs what is sent (Standard Webhooks, whsec_...); none: webhooks are refused."
    )
    allow_private: bool = Field(False, description="Whether they may go to loopback and private addresses, and http.")
    timeout_s: float = Field(10.0, gt=0, le=60, description="Longest wait for a receiver.")
    max_attempts: int = Field(8, ge=1, le=50, description="Attempts before a delivery has failed.")
    retry_s: float = Field(5.0, gt=0, le=3600, description="First wait before another attempt; it doubles each time.")


def _callable(allow: tuple[str, ...]) -> tuple[str, ...]:
    try:
        destinations(allow)
    except ValueError:
        raise PydanticCustomError("fetch_allow", "must be networks such as 10.1.0.0/16, or names of hosts") from None
    return allow


class FetchSettings(Section):
    allow: Annotated[tuple[str, ...], AfterValidator(_callable)] = Field(
        (), description="Networks and hosts that may be fetched from though they are not of the open Internet."
    )
    allow_http: bool = Field(False, description="Whether pictures may come by http, too.")
    ports: tuple[Port, ...] = Field((80, 443), description="Ports that may be fetched from; empty: any.")
    max_bytes: int = Field(10 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="Largest picture of a URL.")
    max_redirects: int = Field(3, ge=0, le=20, description="Redirections that are followed.")
    timeout_s: float = Field(20.0, gt=0, le=600, description="Longest time for one picture, redirections included.")
    idle_timeout_s: float = Field(5.0, gt=0, le=600, description="Longest silence of who sends one.")
    at_once: int = Field(8, ge=1, le=1000, description="Pictures that one gateway fetches at once.")


def _long_enough(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(not 32 <= len(secret.get_secret_value()) <= 1024 for secret in secrets):
        told = "must each have 32 to 1024 characters: openssl rand -base64 32"
        raise PydanticCustomError("site_secret", told)
    return secrets


class SecretsSettings(Section):
    keys: Annotated[tuple[SecretStr, ...], AfterValidator(_long_enough)] = Field(
        (),
        description="The site's secrets, the newest first: what older ones signed, sealed or hashed still holds. "
        "None: one in `state_dir`, made at the first need.",
    )
    sign_links: bool = Field(False, description="Whether addresses of results in answers are signed, and expire.")
    link_s: float = Field(3600.0, ge=1, le=31_536_000, description="How long signed addresses open.")


def _word(value: Any) -> Any:
    """YAML takes on and off for true and false."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class AccessSettings(Section):
    required: Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)] = Field(
        "auto", description="Whether every request needs an API key; auto: as soon as others than this machine come."
    )
    insecure: bool = Field(
        False, description="Whether `off` may stand beyond loopback, because something else guards the doors."
    )
    key: SecretStr | None = Field(None, description="The key that this machine's own `atelier` commands show.")
    cache_s: float = Field(
        5.0, ge=0, le=60, description="How long a look at a key holds: so late may a revocation be seen."
    )
    max_failures: int = Field(10, ge=1, le=10_000, description="Wrong keys of one address before it has to wait.")
    wait_s: float = Field(1.0, gt=0, le=3600, description="First wait after too many wrong keys; it doubles each time.")
    wait_max_s: float = Field(
        900.0, gt=0, le=86_400, description="Longest wait after too many wrong keys; so long none are forgotten."
    )
    keep_audit_days: float = Field(365.0, gt=0, description="How long the audit log, and keys that ended, are kept.")
    max_audit_rows: int = Field(1_000_000, ge=1000, description="Most rows of the audit log; the oldest go first.")


class BreakerSettings(Section):
    failures: int = Field(5, ge=1, le=10_000, description="Failures in the window before the breaker may open.")
    share: float = Field(0.5, ge=0, le=1, description="Share of what ended in the window that must have failed, too.")
    window_s: float = Field(60.0, gt=0, le=86_400, description="How long a failure counts.")
    wait_s: float = Field(15.0, gt=0, le=86_400, description="How long an open breaker waits before it tries one.")


NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
Name = Annotated[str, Field(pattern=NAME)]


def _outside(url: str) -> str:
    try:
        checked(url, Destinations(plain_http=True, anywhere=True), "base_url")
    except InvalidRequest as error:
        raise PydanticCustomError("outside_url", "{told}", {"told": error.message}) from None
    return url.rstrip("/")


class FallbackStep(Section):
    """One who stands in. ``name`` is what answers call it by."""

    kind: Literal["model", "openai", "bedrock"]
    model: str = Field(pattern=r"^[!-~]{1,256}$")
    name: Name | None = None
    base_url: Annotated[str, AfterValidator(_outside)] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")] | None = None
    api_key: SecretStr | None = None
    """Of Bedrock: ``ACCESS_KEY_ID:SECRET_ACCESS_KEY``, with a session token ``:TOKEN`` after it, or an API key."""
    secret: Name | None = None
    """The name under which `atelier secrets set` keeps the key instead."""
    sizes: tuple[Annotated[str, Field(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")], ...] = ()
    """WIDTHxHEIGHT that it draws; empty: what the model is known for, else any."""
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
        """What it is called in answers, after ``fallback:``."""
        return f"{self.kind}:{self.name or self.model}"


class FallbackSettings(Section):
    steps: tuple[FallbackStep, ...] = Field(
        (), max_length=8, description="Who draws when the Illustrator fails, in turn; see docs/FALLBACK.md."
    )
    flag: Name | None = Field(
        None, description="Flag of the users whom the Illustrator serves; the others get the steps first. None: all."
    )
    primary_timeout_s: float | None = Field(
        None, gt=0, le=3600, description="Longest wait for the Illustrator before the steps; none: no time for them."
    )
    max_bytes: int = Field(20 * MEBIBYTE, ge=1024, le=256 * MEBIBYTE, description="Largest picture from outside.")
    at_once: int = Field(4, ge=1, le=1000, description="Pictures that one process asks of one outside service at once.")
    breaker: BreakerSettings = Field(BreakerSettings(), description="When a failing ensemble is left alone.")


class FlagSettings(Section):
    enabled: bool = True
    percentage: float = Field(100.0, ge=0, le=100)
    users: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field((), max_length=1000)
    """Who has it whatever the percentage is."""


class ArmSettings(Section):
    """``options`` are fields of a request that the arm fills in, such as ``model`` or ``guidance_scale``."""

    weight: float = Field(0.5, gt=0, le=1_000_000)
    options: dict[Literal["model", "num_inference_steps", "guidance_scale", "guidance_rescale", "sampler",
                          "negative_prompt"], str | int | float] = {}  # fmt: skip


class ExperimentSettings(Section):
    arms: dict[Name, ArmSettings] = Field(min_length=2, max_length=8)
    model: str | None = None
    """Of which model the requests are in it; None: of those that name none."""
    flag: Name | None = None
    """Of the users who take part; None: all."""
    min_units: int = Field(30, ge=2, le=1_000_000)
    """Users (or requests, where nobody is known) that each arm needs before arms are compared."""


def _together(values: tuple[Any, Any], told: str) -> None:
    if (values[0] is None) != (values[1] is None):
        raise PydanticCustomError("together", "{told}", {"told": told})


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Category = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_/-]{0,63}$")]
Phrase = Annotated[str, Field(min_length=1, max_length=256)]


class ModerationRule(Section):
    category: Category = Field(description="What is told of a prompt that the rule fits.")
    score: Share = Field(1.0, description="How sure that is.")
    words: tuple[Phrase, ...] = Field((), max_length=100_000, description="Words, and phrases of them.")
    patterns: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=1000, description="Regular expressions of RE2, of the prompt in lower case."
    )


class ModerationSettings(Section):
    policy: Annotated[Literal["off", "flag", "blur", "refuse"], BeforeValidator(_word)] = Field(
        "off", description="What is done about prompts and pictures that are found to be of a category."
    )
    rules: Annotated[tuple[ModerationRule, ...], Field(max_length=1000)] = Field(
        (), description="For prompts: lists of `words` and RE2 `patterns`, each with a `category` and a `score`."
    )
    lookalikes: bool = Field(True, description="Whether words are also found in letters and digits that look alike.")
    engine: str | None = Field(
        None,
        description="The engine that looks at pictures, of the illustrator's repository; none: none are.",
    )
    categories: Annotated[tuple[Category, ...], Field(max_length=256)] = Field(
        (), description="What the engine's scores are of, in their order."
    )
    side_px: int = Field(224, ge=16, le=1024, description="Width and height of the pictures that the engine takes.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest wait for the engine.")
    threshold: Share = Field(0.5, description="The score from which on something is of a category.")
    thresholds: dict[Category, Share] = Field({}, description="The same, of single categories.")
    low_threshold: Share = Field(0.85, description="The least threshold of requests with `moderation: low`.")
    on_failure: Literal["refuse", "allow"] = Field(
        "refuse", description="What becomes of pictures when the engine gives no answer; refuse: 503."
    )

    @model_validator(mode="after")
    def _categories_are_known(self) -> ModerationSettings:
        _together((self.engine, self.categories or None), "engine and categories go together")
        unknown = set(self.thresholds) - {*self.categories, *(rule.category for rule in self.rules)}
        if unknown:
            told = f"thresholds: there is no category {min(unknown)}"
            raise PydanticCustomError("category", "{told}", {"told": told})
        return self


class ProvenanceSettings(Section):
    mark: bool = Field(True, description="Whether drawn pictures say in XMP that they are: IPTC's DigitalSourceType.")
    c2pa: Annotated[Literal["off", "on_request", "always"], BeforeValidator(_word)] = Field(
        "off", description="Whether pictures get a signed C2PA manifest; it needs atelier[provenance]."
    )
    certificate: ProjectPath | None = Field(
        None, description="PEM of the signer's certificate, then its issuers'; none: the site's own, in `state_dir`."
    )
    private_key: ProjectPath | None = Field(None, description="PEM of the key of that certificate, without a password.")
    tell_prompt: bool = Field(False, description="Whether the manifest has the prompt.")

    @model_validator(mode="after")
    def _certificate_has_key(self) -> ProvenanceSettings:
        _together((self.certificate, self.private_key), "certificate and private_key go together")
        return self


class BackupSettings(Section):
    url: str | None = Field(None, description="Folder or object URL for scheduled backups; none: no schedule.")
    options: dict[str, SecretStr] = Field({}, description="Credentials and endpoint of that URL, as `objects.options`.")
    every_h: float = Field(24.0, gt=0, description="Hours between two scheduled backups (C-131).")
    keep_days: float = Field(30.0, gt=0, description="Scheduled backups older than this are deleted (C-131).")


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

    http: HttpSettings = Field(HttpSettings(), description="The HTTP door.")
    grpc: GrpcSettings = Field(GrpcSettings(), description="The gRPC door.")
    access: AccessSettings = Field(AccessSettings(), description="Who may come in: API keys, users, audit.")
    dashboard: DashboardSettings = Field(DashboardSettings(), description="Ray's dashboard.")
    proxy: ProxySettings = Field(ProxySettings(), description="The HAProxy in front of the gateways.")
    ray: RaySettings = Field(RaySettings(), description="The Ray node that `atelier up` starts.")
    limits: LimitsSettings = Field(LimitsSettings(), description="Caps on what a request may bring.")
    rates: RatesSettings = Field(RatesSettings(), description="How often a client may ask (C-092).")
    quotas: QuotasSettings = Field(QuotasSettings(), description="How much one user may have.")
    gateway: GatewaySettings = Field(GatewaySettings(), description="The deployment behind both doors.")
    vectorizer: VectorizerSettings = Field(VectorizerSettings(), description="Image to SVG.")
    illustrator: IllustratorSettings = Field(IllustratorSettings(), description="Prompt to pictures.")
    pictures: PicturesSettings = Field(PicturesSettings(), description="Pictures in answers.")
    moderation: ModerationSettings = Field(ModerationSettings(), description="What may be drawn.")
    provenance: ProvenanceSettings = Field(ProvenanceSettings(), description="How drawn pictures can be told.")
    database: DatabaseSettings = Field(DatabaseSettings(), description="Where state is kept.")
    objects: ObjectsSettings = Field(ObjectsSettings(), description="Where pictures are kept.")
    references: ReferencesSettings = Field(ReferencesSettings(), description="Pictures of subjects (A-021).")
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
    state_dir: ProjectPath = Field(Path("var"), description="Folder for what a running stack writes down.")

    @field_validator("access")
    @classmethod
    def _never_open_by_mistake(cls, access: AccessSettings, info: ValidationInfo) -> AccessSettings:
        http = info.data.get("http")
        if http is not None and access.required == "off" and not access.insecure and not is_loopback(http.host):
            told = (
                "required is off, and http.host is not loopback: whoever reaches it could do everything. Leave "
                "access.required (ATELIER_ACCESS__REQUIRED) at auto and make a key: atelier keys create --role admin. "
                "If something else guards the doors: ATELIER_ACCESS__INSECURE=true"
            )
            raise PydanticCustomError("access_off", "{told}", {"told": told})
        return access

    @model_validator(mode="after")
    def _flags_that_there_are(self) -> Settings:
        named = {"fallback.flag": self.fallback.flag}
        named |= {f"experiments.{name}.flag": one.flag for name, one in self.experiments.items()}
        for field, flag in named.items():
            if flag is not None and flag not in self.flags:
                told = f"{field} names {flag}, which is none of flags"
                raise PydanticCustomError("no_such_flag", "{told}", {"told": told})
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
        site = InitSettingsSource(settings_cls, init_kwargs=_site_values(Path(config)) if config else {})
        return (init_settings, env_settings, site)


def _site_values(path: Path) -> dict[str, Any]:
    """The settings in a site's file: the file itself, or the arguments of the application in a Ray Serve config."""
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # the error itself quotes the line, and so maybe a password
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        told = f"the settings file {path.name} cannot be read: {getattr(error, 'problem', None) or 'no YAML'}{where}"
        raise InvalidRequest(told, "config") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest(f"the settings file {path.name} cannot be read: {reason}", "config") from None
    if isinstance(document, dict) and "applications" in document:
        document = _arguments(document["applications"])
    if not isinstance(document, dict):
        raise InvalidRequest(f"the settings file {path.name} must hold a mapping", "config")
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
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.resolve())
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

Written by `atelier settings --markdown`. A YAML file named by `--config` or `ATELIER_CONFIG` holds what differs from
the defaults, nested as the dotted names are; environment variables win over it, with lists as JSON
(`'["one"]'`). A name that does not exist is an error.
"""
