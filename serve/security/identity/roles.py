"""Roles of users, scopes of keys, and who somebody is once he was let in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from serve.errors import Forbidden, InvalidRequest

READ = "read"
"""Look at one's own: results, history, jobs and their events, references; lists of models."""
WRITE = "write"
"""Change one's own: references, favourites, deleting from the gallery."""
GENERATE = "generate"
"""Have something made: drawings, SVG, jobs, and cancel them."""
INFERENCE = "inference"
"""Ask single engines by the open inference protocol."""
METRICS = "metrics"
"""Figures of the whole site: metrics, the dashboard's address, quality, costs. Nobody is named."""
ADMIN = "admin"
"""Users, keys, the audit log, lanes; other users' objects."""
SCOPES = (READ, WRITE, GENERATE, INFERENCE, METRICS, ADMIN)

ADMINISTRATOR, USER, READ_ONLY = "admin", "user", "read-only"
ROLES: Mapping[str, frozenset[str]] = {
    ADMINISTRATOR: frozenset(SCOPES),
    USER: frozenset([READ, WRITE, GENERATE, INFERENCE]),
    READ_ONLY: frozenset([READ]),
}
"""What each role may. A key may some of it, or all."""


@dataclass(frozen=True)
class Principal:
    """Who a request is of. ``scopes`` are what it may: those of the key that its user's role has, too.

    ``key_id`` is None where nobody had to show a key; ``name`` is the key's.
    """

    user_id: str
    role: str
    scopes: frozenset[str]
    key_id: str | None = None
    name: str = ""
    is_linked: bool = False
    """Whether the address that is asked for was signed: then it opens, whosever it is."""

    @property
    def sees_all(self) -> bool:
        """Whether other users' objects are there for him, and he may act in their name."""
        return ADMIN in self.scopes or self.user_id == LOCAL.user_id

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"this key may not: it needs the scope {scope}")

    def acts_as(self, user_id: str | None, field: str = "user_id") -> str:
        """Whose something new is, when ``user_id`` is asked for. Raises Forbidden."""
        if user_id is None:
            return self.user_id
        if user_id != self.user_id and not self.sees_all:
            raise Forbidden("this key is of another user; leave it out", field)
        return user_id

    def looks_at(self, user_id: str | None, field: str = "user_id") -> str | None:
        """Whose objects are looked for; None: everybody's. Raises Forbidden."""
        return user_id if self.sees_all else self.acts_as(user_id, field)


LOCAL = Principal("anonymous", USER, frozenset(SCOPES) - {ADMIN})
"""Everybody where no key is needed. Not an admin: any page that a browser of this machine shows could ask as well."""

LINK = Principal("", "link", frozenset([READ]), is_linked=True)
"""Who has a signed address, and shows no key."""


def check_role(role: str) -> str:
    """``role``. Raises InvalidRequest for one that there is not."""
    if role not in ROLES:
        raise InvalidRequest(f"must be one of {', '.join(ROLES)}", "role")
    return role


def scopes_of(role: str, wanted: Collection[str] | None) -> list[str]:
    """What a new key may: ``wanted``, or all that ``role`` may. Raises InvalidRequest for what the role may not."""
    if wanted is None:
        return [scope for scope in SCOPES if scope in ROLES[role]]
    if not wanted or not set(wanted) <= ROLES[role]:
        allowed = ", ".join(scope for scope in SCOPES if scope in ROLES[role])
        raise InvalidRequest(f"must be some of what the role {role} may: {allowed}", "scopes")
    return [scope for scope in SCOPES if scope in wanted]
