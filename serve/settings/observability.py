"""Settings of tracing and logging."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from serve.settings.section import MEBIBYTE, ProjectPath, Section

_TRACES_PATH = "/v1/traces"
"""Default path for spans in OTLP over HTTP."""


def _collector(url: str) -> str:
    """The endpoint with its path. Credentials in URLs are refused: they would show in command lines; use headers."""
    try:
        parts = urlsplit(url)
        named, guarded = bool(parts.hostname) and parts.port != 0, parts.username is not None
    except ValueError:
        named = guarded = False
    if not named or parts.scheme not in ("http", "https"):
        raise PydanticCustomError("collector", "must be http://host:port or https://host:port, and maybe a path")
    if guarded:
        raise PydanticCustomError("collector", "must have no user and password: put them in tracing.headers")
    return url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}{_TRACES_PATH}"


class TracingSettings(Section):
    endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        None,
        description="Collector that takes OTLP over HTTP, such as http://localhost:4318; none: there are no traces.",
    )
    headers: dict[str, SecretStr] = Field({}, description="Headers for the collector, such as its authorization.")
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of traced requests; a client's `traceparent` decides for its own."
    )
    service_name: str = Field(
        "atelier",
        min_length=1,
        max_length=100,
        description="Name of the stack in traces; each component has its own after it.",
    )
    triton: bool = Field(
        False, description="Whether embedded Tritons send spans of their own: queue, batch, compute. Without `headers`."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Timeout of the collector; requests do not wait for it.")
    queue: int = Field(4096, ge=64, le=1_000_000, description="Spans queued per process; further ones are dropped.")


class LogsSettings(Section):
    format: Literal["text", "json"] = Field("text", description="Format of a record: a text line, or a JSON object.")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Minimum level of records.")
    requests: bool = Field(True, description="Whether each request is logged (C-093), except health probes.")
    console: bool = Field(
        False,
        description="Also log everything, with Ray's warnings, to the console: for containers.",
    )
    folder: ProjectPath | None = Field(
        None, description="Folder of the log files, one per process; none: `state_dir`/logs."
    )
    max_file_bytes: int = Field(16 * MEBIBYTE, ge=65_536, description="Size at which a log file is rotated.")
    old_files: int = Field(3, ge=1, le=100, description="Rotated files kept per process.")
    max_files: int = Field(64, ge=4, le=10_000, description="Most files in the folder; the oldest are deleted.")
