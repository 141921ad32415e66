"""Network endpoints of the stack, and limits of one request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from serve.settings.section import MEBIBYTE, AutoscalingSettings, Network, Port, ProjectPath, ScaledSection, Section


class HttpSettings(Section):
    host: str = Field("127.0.0.1", description="Address that HTTP and gRPC listen on. Loopback unless you change it.")
    port: Port = Field(8000, description="HTTP port.")
    public_url: str | None = Field(
        None, description="Public base URL of the HTTP API, for links in answers; none: http://host:port."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web origins that browsers may call from (CORS). None by default."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Addresses and networks of trusted proxies, whose forwarded client address is used."
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for", description="Header in which those proxies send it; the other one is ignored."
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
        description="This machine's address for Ray's own servers, gateways behind HAProxy and HAProxy's metrics: who "
        "reaches them can run code. Loopback unless Ray spans machines; `node` finds it.",
    )
    port: Port = Field(6379, description="Where other machines join, where Ray spans machines.")
    machine_timeout_s: float = Field(
        10.0, ge=2, le=600, description="A machine without an answer for this long counts as lost."
    )
    leave_s: float = Field(
        60.0, ge=0, le=3600, description="Longest wait of a leaving machine until its work has moved."
    )
    num_cpus: int = Field(0, ge=0, le=4096, description="Logical CPUs that Ray may schedule on; 0 detects them.")
    object_store_memory_bytes: int = Field(
        256 * MEBIBYTE, ge=80 * MEBIBYTE, description="Ray's shared object store. Requests hardly use it."
    )
    temp_dir: ProjectPath | None = Field(None, description="Folder for Ray's logs and sockets; none: Ray's own choice.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of this node's Prometheus metrics, on `host`; 0: any that is free."
    )
    metrics_interval_s: float = Field(
        5.0, ge=1.0, le=60, description="Interval at which processes export metrics: their maximum age."
    )
    drain_s: float = Field(2.0, ge=0, le=600, description="How long a stopping gateway finishes requests.")
    health_period_s: float = Field(1.0, ge=0.1, le=60, description="Interval of health checks of replicas and proxies.")
    health_timeout_s: float = Field(
        1.5,
        ge=0.1,
        le=60,
        description="Timeout of a health check; after three failures in a row the process is replaced.",
    )
    start_timeout_s: float = Field(300.0, gt=0, le=3600, description="How long `atelier up` waits for readiness.")


class ProxySettings(Section):
    metrics_port: Port = Field(9101, description="Port of HAProxy's Prometheus metrics, on `ray.host`.")
    stats_port: Port = Field(8404, description="Port of HAProxy's statistics page, on `ray.host`.")
    fallback_http_port: Port = Field(8500, description="Internal: where HAProxy sends HTTP while no gateway is up.")
    fallback_grpc_port: Port = Field(9500, description="Internal: where HAProxy sends gRPC while no gateway is up.")
    threads: int = Field(2, ge=1, le=64, description="Threads of HAProxy.")
    buffer_bytes: int = Field(
        128 * 1024,
        ge=16 * 1024,
        le=8 * MEBIBYTE,
        description="Requests over HTTP up to this size are passed on once they are whole, and sent again to another "
        "gateway when one dies; twice per connection.",
    )
    token: SecretStr | None = Field(
        None,
        description="Internal: token by which gateways recognise HAProxy; none: generated at start.",
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


class GatewaySettings(ScaledSection):
    min_replicas: int = Field(1, ge=1, le=1000, description="Fewest gateway replicas.")
    max_replicas: int = Field(1, ge=1, le=1000, description="Most gateway replicas.")
    autoscaling: AutoscalingSettings = Field(AutoscalingSettings(), description="Autoscaling of gateways.")
    max_ongoing_requests: int = Field(
        512, ge=1, le=100_000, description="Concurrent requests per gateway; beyond it the answer is 503."
    )
    max_held_bytes: int = Field(
        256 * MEBIBYTE, ge=1024, description="Total size of request bodies in one gateway; beyond it the answer is 503."
    )
    num_cpus: float = Field(0.1, ge=0, le=1024, description="CPUs that Ray reserves for one gateway.")
    kept_share: float = Field(
        0.1,
        ge=0,
        le=0.4,
        description="Share of a gateway's slots reserved for high priority; low priority leaves twice that free.",
    )
    high_priority: Literal["admins", "everybody"] = Field(
        "admins", description="Whose keys may request high priority. Without required keys everybody may."
    )
