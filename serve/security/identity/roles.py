"""Roles of users, scopes of keys, and the authenticated principal of a request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from serve.errors import Forbidden, InvalidRequest

READ = "read"
"""Read one's own results, history, jobs and their events, references; lists of models."""
WRITE = "write"
"""Change one's own references and favourites; delete from the gallery."""
GENERATE = "generate"
"""Create drawings, SVG and jobs; cancel them."""
INFERENCE = "inference"
"""Call single engines by the open inference protocol."""
METRICS = "metrics"
"""Metrics of the whole site, the dashboard's URL, quality, costs; without names of users."""
ADMIN = "admin"
"""Users, keys, the audit log, lanes; other users' objects."""
SCOPES = (READ, WRITE, GENERATE, INFERENCE, METRICS, ADMIN)

ADMINISTRATOR, USER, READ_ONLY = "admin", "user", "read-only"
ROLES: Mapping[str, frozenset[str]] = {
    ADMINISTRATOR: frozenset(SCOPES),
    USER: frozenset([READ, WRITE, GENERATE, INFERENCE]),
    READ_ONLY: frozenset([READ]),
}
"""The scopes of each role. A key has some of them, or all."""


@dataclass(frozen=True)
class Principal:
    """The authenticated party of a request. ``scopes``: those of the key that its user's role also has.

    ``key_id`` is None where no key was required; ``name`` is the key's.
    """

    user_id: str
    role: str
    scopes: frozenset[str]
    key_id: str | None = None
    name: str = ""
    is_linked: bool = False
    """Whether the requested URL was signed: then it is accessible, whoever owns the object."""

    @property
    def sees_all(self) -> bool:
        """Whether it may access other users' objects, and act in their name."""
        return ADMIN in self.scopes or self.user_id == LOCAL.user_id

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"this key may not: it needs the scope {scope}")

    def acting_user_id(self, user_id: str | None, field: str = "user_id") -> str:
        """The owner of a new object, if ``user_id`` is requested. Raises Forbidden."""
        if user_id is None:
            return self.user_id
        if user_id != self.user_id and not self.sees_all:
            raise Forbidden("this key is of another user; leave it out", field)
        return user_id

    def visible_user_id(self, user_id: str | None, field: str = "user_id") -> str | None:
        """The user whose objects are listed; None: all users. Raises Forbidden."""
        return user_id if self.sees_all else self.acting_user_id(user_id, field)


LOCAL = Principal("anonymous", USER, frozenset(SCOPES) - {ADMIN})
"""Every client where no key is required. Not an admin: any web page in a browser on this machine could send requests.
"""

LINK = Principal("", "link", frozenset([READ]), is_linked=True)
"""A client with a signed URL and no key."""


def check_role(role: str) -> str:
    """Raises InvalidRequest for an unknown role."""
    if role not in ROLES:
        raise InvalidRequest(f"must be one of {', '.join(ROLES)}", "role")
    return role


def scopes_of(role: str, requested: Collection[str] | None) -> list[str]:
    """The scopes of a new key: ``requested``, or all of ``role``. Raises InvalidRequest for others."""
    if requested is None:
        return [scope for scope in SCOPES if scope in ROLES[role]]
    if not requested or not set(requested) <= ROLES[role]:
        allowed = ", ".join(scope for scope in SCOPES if scope in ROLES[role])
        raise InvalidRequest(f"must be some of what the role {role} may: {allowed}", "scopes")
    return [scope for scope in SCOPES if scope in requested]
