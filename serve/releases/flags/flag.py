"""Evaluation of a flag for a user: deterministic, on every process."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from serve.settings import FlagSettings
from serve.state.job_states import ANONYMOUS

_HASH_RANGE = 2**64


@dataclass(frozen=True)
class Flag:
    """On for ``percentage`` (0 to 100) of users and for ``users``; off for all unless ``enabled``."""

    name: str
    enabled: bool = True
    percentage: float = 100.0
    users: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, settings: FlagSettings) -> Flag:
        return cls(name, settings.enabled, settings.percentage, frozenset(settings.users))


def is_on(flag: Flag, user_id: str) -> bool:
    """Users keep the flag as the percentage rises."""
    if not flag.enabled:
        return False
    return user_id in flag.users or 100.0 * share(flag.name, user_id) < flag.percentage


def share(name: str, unit: str) -> float:
    """Uniform hash in [0, 1) of the unit, independent for each ``name``."""
    digest = hashlib.sha256(f"{len(name)}:{name}:{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _HASH_RANGE


def unit_of(user_id: str, request_id: str | None = None) -> str:
    """The unit of assignment: a user, or a single request of an anonymous one."""
    if user_id != ANONYMOUS:
        return user_id
    return f"request {request_id or secrets.token_hex(16)}"
