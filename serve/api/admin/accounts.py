"""`/v1/me`, and keys, users and the audit log for administrators below /api/admin (B-083, C-142)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator

from serve.api.admin.quality import Admin
from serve.api.http.bodies import CappedRoute
from serve.api.http.models import (
    Cursor,
    Flag,
    Moment,
    NextCursor,
    Number,
    RequestModel,
    Text,
    Time,
    Whole,
    one_of,
    reported_as_one,
)
from serve.api.http.ownership import MAX_USER, actor_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.middleware.authentication import principal_of
from serve.api.openapi.operation import CONFLICT, UNKNOWN
from serve.errors import InvalidRequest, StateUnavailable, rename_fields
from serve.security.identity import audit
from serve.security.identity.audit import Filters
from serve.security.identity.keys import ACTIVE, EXPIRED, MAX_LIFETIME, REVOKED, Key, Keys
from serve.security.identity.roles import ROLES, SCOPES
from serve.security.identity.users import (
    MAX_NAME,
    MAX_PAGE_SIZE,
    USER_ID,
    create_user,
    page_of_users,
    set_disabled,
    set_role,
)

router = APIRouter()
admins = APIRouter(prefix="/api/admin", dependencies=[Admin], route_class=CappedRoute)

MAX_TEXT = 256
Role = Annotated[str, one_of(ROLES)]
Scopes = list[Annotated[str, one_of(SCOPES)]]
NewId = Annotated[
    Text, Field(min_length=1, max_length=MAX_USER, json_schema_extra={"pattern": f"^{USER_ID}$", "examples": ["ada"]})
]
Name = Annotated[Text, Field(max_length=MAX_NAME)]
AnyText = Annotated[Text | None, Field(max_length=MAX_TEXT, description="Of this alone.")]


class Paging(RequestModel):
    cursor: Cursor = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_PAGE_SIZE, description="Most in one page.")] = 50


class MeResponse(BaseModel):
    user_id: str
    role: Annotated[str, Field(examples=["user"])]
    scopes: Scopes
    key_id: str | None
    name: str


class KeyInfo(BaseModel):
    id: Annotated[str, Field(description="No secret: it only names the key.")]
    user_id: str
    name: str
    scopes: Scopes
    created_at: Time
    expires_at: Time | None
    used_at: Annotated[Time | None, Field(description="to the minute")]
    revoked_at: Time | None
    status: Annotated[str, one_of([ACTIVE, EXPIRED, REVOKED])]


class NewKeyResponse(KeyInfo):
    role: Role
    key: Annotated[str, Field(description="The whole key.", examples=["atelier_k7d1e0f3a_…"])]


class KeysResponse(BaseModel):
    keys: list[KeyInfo]
    next_cursor: NextCursor


class NewKeyRequest(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "ada", "role": "user", "name": "laptop", "expires_in_s": 2_592_000}]
        }
    )
    kept_empty: ClassVar = ("scopes",)

    user_id: NewId
    role: Annotated[Role | None, Field(description="makes the user, if there is none")] = None
    scopes: Annotated[
        Annotated[Scopes, Field(min_length=1)] | None,
        WrapValidator(reported_as_one),
        Field(description="some of the role's; all of them by default"),
    ] = None
    name: Name = ""
    expires_in_s: Annotated[Number | None, Field(gt=0, le=MAX_LIFETIME.days * 86_400, description="seconds")] = None


class KeysQuery(Paging):
    user_id: Annotated[Text | None, Field(max_length=MAX_USER, description="Of this user alone.")] = None
    active: Annotated[Flag, Field(description="Those alone that may be used.")] = False


class UserInfo(BaseModel):
    id: Annotated[str, Field(examples=["ada"])]
    name: str
    role: Role
    created_at: Time
    disabled_at: Time | None


class UsersResponse(BaseModel):
    users: list[UserInfo]
    next_cursor: NextCursor


class NewUserRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "ada", "role": "user", "name": "Ada"}]})

    id: NewId
    role: Role = "user"
    name: Name = ""


class UserChange(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "read-only"}], "minProperties": 1})
    kept_empty: ClassVar = ("disabled",)

    role: Role | None = None
    disabled: Annotated[Flag | None, BeforeValidator(lambda value: False if value == "" else value)] = None


class AuditQuery(Paging):
    user_id: AnyText = None
    key_id: AnyText = None
    action: AnyText = None
    subject: AnyText = None
    address: AnyText = None
    since: Annotated[Moment | None, Field(description="ISO 8601; UTC unless it has a zone.")] = None
    until: Annotated[Moment | None, Field(description="The end, which is not part of it.")] = None


class AuditEntry(BaseModel):
    seq: int
    user_id: str | None
    key_id: str | None
    action: str
    subject: str | None
    details: Annotated[Any, Field(description="what else is known of it", examples=[{"role": "user"}])]
    address: str | None
    created_at: Time


class AuditResponse(BaseModel):
    entries: list[AuditEntry]
    next_cursor: NextCursor


async def keys_of(request: Request) -> Keys:
    entrance = getattr(request.app.state, "entrance", None)
    if entrance is None:
        raise StateUnavailable("the database is not open; try again")
    keys: Keys = entrance.gate.keys
    return keys


KeysOf = Annotated[Keys, Depends(keys_of)]


@router.get("/v1/me", response_model=MeResponse, response_description="The caller")
async def me(request: Request) -> Response:
    """The caller's user, role and scopes."""
    principal = principal_of(request)
    scopes = [scope for scope in SCOPES if scope in principal.scopes]
    content = {
        "user_id": principal.user_id,
        "role": principal.role,
        "scopes": scopes,
        "key_id": principal.key_id,
        "name": principal.name,
    }
    return render(content, 200, None)


@admins.post(
    "/keys",
    status_code=201,
    response_model=NewKeyResponse,
    response_description="It is made",
    responses={**UNKNOWN, **CONFLICT},
)
async def create_key(body: NewKeyRequest, request: Request, keys: KeysOf) -> Response:
    """Make a key. It is shown in this answer and never again."""
    made = await keys.create(
        body.user_id,
        actor_of(request),
        role=body.role,
        scopes=body.scopes,
        name=body.name,
        expires_in=None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s),
    )
    response = render({**_key(made.key), "role": made.role, "key": made.secret}, 201, None)
    response.headers["Cache-Control"] = "no-store"
    return response


@admins.get("/keys", response_model=KeysResponse, response_description="A page, the newest first")
async def list_keys(query: Annotated[KeysQuery, Query()], keys: KeysOf) -> Response:
    """Keys. The newest first, without what is secret of them; with `active=true` those alone that may be used."""
    page = await keys.page(query.user_id, query.cursor, query.limit, active=query.active)
    return render({"keys": [_key(key) for key in page.items], "next_cursor": page.next_cursor}, 200, None)


@admins.delete("/keys/{key_id}", response_model=KeyInfo, response_description="It is revoked", responses=CONFLICT)
async def revoke_key(request: Request, key_id: str, keys: KeysOf) -> Response:
    """Revoke a key. It opens nothing any more, within `access.cache_s`."""
    return render(_key(await keys.revoke(key_id, actor_of(request))), 200, None)


@admins.get("/users", response_model=UsersResponse, response_description="A page, by their ids")
async def list_users(query: Annotated[Paging, Query()], state: StateOf) -> Response:
    """Users, by their ids."""
    with rename_fields({"user_id": "cursor"}):
        page = await page_of_users(state.database, query.cursor, query.limit)
    return render({"users": [_plain(user) for user in page.items], "next_cursor": page.next_cursor}, 200, None)


@admins.post(
    "/users",
    status_code=201,
    response_model=UserInfo,
    response_description="It is made",
    responses=CONFLICT,
)
async def add_user(body: NewUserRequest, request: Request, state: StateOf) -> Response:
    """Add a user, without keys yet."""
    user = await create_user(state.database, body.id, body.role, actor_of(request), body.name)
    return render(_plain(user), 201, None)


@admins.put("/users/{user_id}", response_model=UserInfo, response_description="As it is now", responses=CONFLICT)
async def change_user(body: UserChange, request: Request, user_id: str, state: StateOf) -> Response:
    """Give a user another role, or no way in for a while: of all keys of the user, within `access.cache_s`."""
    changes: list[Callable[[], Awaitable[Any]]] = []
    actor, database = actor_of(request), state.database
    if role := body.role:
        changes.append(lambda: set_role(database, user_id, role, actor))
    if (disabled := body.disabled) is not None:
        changes.append(lambda: set_disabled(database, user_id, disabled, actor))
    if not changes:
        raise InvalidRequest("send role, disabled, or both", "role")
    for change in changes:
        user = await change()
    return render(_plain(user), 200, None)


@admins.get("/audit", response_model=AuditResponse, response_description="A page, the newest first")
async def audit_log(query: Annotated[AuditQuery, Query()], state: StateOf) -> Response:
    """The audit log, the newest first. Of one user, key, action, subject or address, and of a time."""
    filters = Filters(**query.model_dump(exclude={"cursor", "limit"}))
    page = await audit.page(state.database, filters, query.cursor, query.limit)
    return render({"entries": [_plain(entry) for entry in page.items], "next_cursor": page.next_cursor}, 200, None)


def _key(key: Key) -> dict[str, Any]:
    return {**_plain(key), "status": key.status}


def _plain(row: Any) -> dict[str, Any]:
    """A row of a page as JSON; times are ISO 8601."""
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in asdict(row).items()}


router.include_router(admins)
