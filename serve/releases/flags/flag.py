"""What a flag says of a user: the same each time, and wherever it is asked."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from serve.settings import FlagSettings
from serve.state.job_states import ANONYMOUS

_HASHED = 2**64


@dataclass(frozen=True)
class Flag:
    """``percentage``, 0 to 100, of all users; ``users`` have it beside them. Of one that is not ``enabled``: none."""

    name: str
    enabled: bool = True
    percentage: float = 100.0
    users: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, settings: FlagSettings) -> Flag:
        return cls(name, settings.enabled, settings.percentage, frozenset(settings.users))


def is_on(flag: Flag, user_id: str) -> bool:
    """Who has it at one percentage has it at every higher one."""
    if not flag.enabled:
        return False
    return user_id in flag.users or 100.0 * share(flag.name, user_id) < flag.percentage


def share(name: str, unit: str) -> float:
    """From 0 to below 1, evenly over units, for each name by itself: who comes first in one is not in another."""
    digest = hashlib.sha256(f"{len(name)}:{name}:{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _HASHED


def unit_of(user_id: str, request_id: str | None = None) -> str:
    """What is decided about: a user, or one request of somebody who is not known."""
    if user_id != ANONYMOUS:
        return user_id
    return f"request {request_id or secrets.token_hex(16)}"
