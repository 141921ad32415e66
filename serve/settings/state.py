"""What is kept, and the queue."""

from __future__ import annotations

import base64
import contextlib
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from serve.settings.section import MEBIBYTE, AutoscalingSettings, Section


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


class LorasSettings(Section):
    max_count: int = Field(200, ge=1, le=100_000, description="LoRAs that the site keeps.")
    max_per_user: int = Field(50, ge=1, le=100_000, description="LoRAs that one user keeps.")
    max_bytes: int = Field(256 * MEBIBYTE, ge=1024, le=512 * MEBIBYTE, description="Size of one LoRA's file.")


class JobsSettings(Section):
    workers: int = Field(1, ge=1, le=1000, description="Fewest worker replicas; each has the slots below.")
    max_workers: int | None = Field(
        None, ge=1, le=1000, description="Most worker replicas, while jobs wait for slots; none: `workers`."
    )
    autoscaling: AutoscalingSettings = Field(
        AutoscalingSettings(), description="When to have how many of them; its target is the slots below."
    )
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
    beat_s: float = Field(1.0, gt=0, le=60, description="How often a worker shows that it lives.")
    lease_s: float = Field(5.0, gt=0, le=600, description="A worker that has not shown it for so long loses its jobs.")
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

    @field_validator("max_workers")
    @classmethod
    def _most_not_below_fewest(cls, most: int | None, info: ValidationInfo) -> int | None:
        if most is not None and most < info.data.get("workers", 1):
            raise PydanticCustomError("workers", "max_workers must not be below workers")
        return most


class CacheSettings(Section):
    enabled: bool = Field(True, description="Whether the same request gets the stored answer.")
    ttl_h: float = Field(24.0, gt=0, description="How long generated pictures and drawings are answered from it.")
    max_bytes: int = Field(2048 * MEBIBYTE, ge=0, description="What it may hold; the longest unused goes first.")
    recent_s: float = Field(
        2.0, ge=0, le=60, description="How long a process repeats a stored answer from its memory; 0: never."
    )
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
        message = "must be whsec_ and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)"
        raise PydanticCustomError("webhook_secret", message)
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


class BackupSettings(Section):
    url: str | None = Field(None, description="Folder or object URL for scheduled backups; none: no schedule.")
    options: dict[str, SecretStr] = Field({}, description="Credentials and endpoint of that URL, as `objects.options`.")
    every_h: float = Field(24.0, gt=0, description="Hours between two scheduled backups (C-131).")
    keep_days: float = Field(30.0, gt=0, description="Scheduled backups older than this are deleted (C-131).")
