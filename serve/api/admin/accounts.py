"""`/v1/me`, and keys, users and the audit log for admins below /api/admin (B-083, C-142)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serve.api.admin import accounts_schema as schema
from serve.api.admin.accounts_schema import MAX_TEXT, USUAL_ITEMS
from serve.api.admin.quality import Admin
from serve.api.http.bodies import read_json
from serve.api.http.ownership import MAX_USER, actor_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.values import choice, flag, moment, number, refuse_unknown, required_text, text, whole_within
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.errors import InvalidRequest, StateUnavailable, rename_fields
from serve.security.identity import audit
from serve.security.identity.audit import Filters
from serve.security.identity.keys import LONGEST, Key, Keys
from serve.security.identity.roles import ROLES, SCOPES
from serve.security.identity.users import MOST_ITEMS, create_user, page_of_users, set_disabled, set_role

router = APIRouter()
admins = APIRouter(prefix="/api/admin", dependencies=[Admin])

_S_PER_DAY = 86_400
_FILTERS = ("user_id", "key_id", "action", "subject", "address")


async def keys_of(request: Request) -> Keys:
    entrance = getattr(request.app.state, "entrance", None)
    if entrance is None:
        raise StateUnavailable("the database is not open; try again")
    found: Keys = entrance.gate.keys
    return found


KeysOf = Annotated[Keys, Depends(keys_of)]


@router.get("/v1/me", openapi_extra=schema.ME)
async def me(request: Request) -> Response:
    """Who asks, and what he may."""
    found = principal_of(request)
    scopes = [scope for scope in SCOPES if scope in found.scopes]
    told = {"user_id": found.user_id, "role": found.role, "scopes": scopes, "key_id": found.key_id, "name": found.name}
    return render(told, 200, None)


@admins.post("/keys", status_code=201, openapi_extra=schema.NEW_KEY)
async def create_key(request: Request, keys: KeysOf, settings: SiteSettings) -> Response:
    """Make a key. It is shown in this answer and never again."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("user_id", "role", "scopes", "name", "expires_in_s"))
    expires_s = number(values, "expires_in_s")
    if expires_s is not None and not 0 < expires_s <= LONGEST.days * _S_PER_DAY:
        raise InvalidRequest(f"must be more than 0, and at most {LONGEST.days * _S_PER_DAY}", "expires_in_s")
    made = await keys.create(
        required_text(values, "user_id", MAX_USER),
        actor_of(request),
        role=choice(values, "role", ROLES, "") or None,
        scopes=_scopes(values),
        name=text(values, "name", MAX_TEXT) or "",
        expires_in=None if expires_s is None else timedelta(seconds=expires_s),
    )
    response = render({**_key(made.key), "role": made.role, "key": made.secret}, 201, None)
    response.headers["Cache-Control"] = "no-store"
    return response


def _scopes(values: Mapping[str, Any]) -> list[str] | None:
    given = values.get("scopes")
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one in SCOPES for one in given):
        raise InvalidRequest(f"must be a list of some of {', '.join(SCOPES)}", "scopes")
    return given


@admins.get("/keys", openapi_extra=schema.KEYS)
async def list_keys(request: Request, keys: KeysOf) -> Response:
    """Keys. The newest first, without what is secret of them; with `active=true` those alone that may be used."""
    values = request.query_params
    refuse_unknown(values, ("user_id", "active", "cursor", "limit"))
    found = await keys.page(
        text(values, "user_id", MAX_USER), text(values, "cursor"), _limit(values), active=flag(values, "active", False)
    )
    return render({"keys": [_key(one) for one in found.items], "next_cursor": found.next_cursor}, 200, None)


@admins.delete("/keys/{key_id}", openapi_extra=schema.REVOKED_KEY)
async def revoke_key(request: Request, key_id: str, keys: KeysOf) -> Response:
    """Revoke a key. It opens nothing any more, within `access.cache_s`."""
    return render(_key(await keys.revoke(key_id, actor_of(request))), 200, None)


@admins.get("/users", openapi_extra=schema.USERS)
async def list_users(request: Request, state: StateOf) -> Response:
    """Users, by their ids."""
    values = request.query_params
    refuse_unknown(values, ("cursor", "limit"))
    with rename_fields({"user_id": "cursor"}):
        found = await page_of_users(state.database, text(values, "cursor"), _limit(values))
    return render({"users": [_plain(one) for one in found.items], "next_cursor": found.next_cursor}, 200, None)


@admins.post("/users", status_code=201, openapi_extra=schema.NEW_USER)
async def add_user(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """Add a user, without keys yet."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("id", "role", "name"))
    role, name = choice(values, "role", ROLES, "user"), text(values, "name", MAX_TEXT) or ""
    made = await create_user(state.database, required_text(values, "id", MAX_USER), role, actor_of(request), name)
    return render(_plain(made), 201, None)


@admins.put("/users/{user_id}", openapi_extra=schema.CHANGE)
async def change_user(request: Request, user_id: str, state: StateOf, settings: SiteSettings) -> Response:
    """Give a user another role, or no way in for a while: of all keys of the user, within `access.cache_s`."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("role", "disabled"))
    changes: list[Callable[[], Awaitable[Any]]] = []
    by, database = actor_of(request), state.database
    if role := choice(values, "role", ROLES, ""):
        changes.append(lambda: set_role(database, user_id, role, by))
    if values.get("disabled") is not None:
        disabled = flag(values, "disabled", False)
        changes.append(lambda: set_disabled(database, user_id, disabled, by))
    if not changes:
        raise InvalidRequest("send role, disabled, or both", "role")
    for change in changes:
        found = await change()
    return render(_plain(found), 200, None)


@admins.get("/audit", openapi_extra=schema.AUDIT)
async def audit_log(request: Request, state: StateOf) -> Response:
    """Who did what, the newest first. Of one user, key, action, subject or address, and of a time."""
    values = request.query_params
    refuse_unknown(values, (*_FILTERS, "since", "until", "cursor", "limit"))
    asked = {name: text(values, name, MAX_TEXT) for name in _FILTERS}
    filters = Filters(**asked, since=moment(values, "since"), until=moment(values, "until"))
    found = await audit.page(state.database, filters, text(values, "cursor"), _limit(values))
    return render({"entries": [_plain(one) for one in found.items], "next_cursor": found.next_cursor}, 200, None)


def _limit(values: Mapping[str, str]) -> int:
    return whole_within(values, "limit", 1, MOST_ITEMS, USUAL_ITEMS)


def _key(key: Key) -> dict[str, Any]:
    return {**_plain(key), "status": key.status}


def _plain(found: Any) -> dict[str, Any]:
    """A row of a page as JSON; times are ISO 8601."""
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in asdict(found).items()}


router.include_router(admins)
