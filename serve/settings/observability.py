"""How the stack can be watched: traces, and what processes write down."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from serve.settings.section import MEBIBYTE, ProjectPath, Section

_TRACES_PATH = "/v1/traces"
"""Where OTLP over HTTP takes spans, unless a collector has it elsewhere."""


def _collector(url: str) -> str:
    """With the path. Names and passwords would show in command lines: they are headers."""
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
        1.0, ge=0, le=1, description="Share of requests that are traced; who sends `traceparent` has decided for his."
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
    timeout_s: float = Field(5.0, gt=0, le=60, description="Longest wait for the collector. Nobody else waits for it.")
    queue: int = Field(
        4096, ge=64, le=1_000_000, description="Spans that one process keeps for it; what comes beyond them is dropped."
    )


class LogsSettings(Section):
    format: Literal["text", "json"] = Field("text", description="How a record is written: a line, or a JSON object.")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is written down.")
    requests: bool = Field(True, description="Whether each request is a record (C-093). Probes of health are none.")
    console: bool = Field(
        False,
        description="Everything goes to the console too, Ray's warnings with it: for containers, whose logs it is.",
    )
    folder: ProjectPath | None = Field(None, description="Where each process has its file; none: in `state_dir`/logs.")
    max_file_bytes: int = Field(16 * MEBIBYTE, ge=65_536, description="A file goes on in a new one from this size.")
    old_files: int = Field(3, ge=1, le=100, description="Earlier files of one process that are kept.")
    max_files: int = Field(64, ge=4, le=10_000, description="Files in the folder; the longest untouched go first.")
