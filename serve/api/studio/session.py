"""Sign-in of the web application: an API key once, then a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from serve.api.http.bodies import CappedRoute
from serve.api.http.models import RequestModel, Text
from serve.api.http.stateful import StateOf
from serve.api.http.urls import own_url
from serve.api.middleware.authentication import Authentication, principal_of
from serve.errors import InvalidRequest
from serve.security.identity.authentication import MAX_HEADER, is_key_required
from serve.security.identity.roles import LINK, Principal
from serve.security.identity.sessions import COOKIE, LIFETIME_S
from serve.settings import Settings

router = APIRouter(prefix="/api/session", route_class=CappedRoute)

_REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"description": "Not a key of this site"},
    403: {"description": "Not from a page of this site"},
    429: {"description": "Too many wrong keys, or requests"},
}


class SignInRequest(RequestModel):
    key: Annotated[Text, Field(min_length=1, max_length=MAX_HEADER, description="an API key")]


class SessionResponse(BaseModel):
    required: Annotated[bool, Field(description="whether the site needs a key")]
    user_id: str | None
    role: str | None
    scopes: list[Literal["read", "write", "generate", "inference", "metrics", "admin"]]


@router.get("", response_model=SessionResponse, response_description="Who is signed in")
async def session(request: Request) -> SessionResponse:
    """Open to everybody: a page asks whether it has to show its sign-in form."""
    return _described(principal_of(request), request.app.state.settings)


@router.post("", response_model=SessionResponse, response_description="Signed in", responses=_REFUSED)
async def sign_in(request: Request, response: Response, body: SignInRequest, _state: StateOf) -> SessionResponse:
    """Sets a cookie in place of the key. The key stays valid elsewhere, and ends the session when it is revoked."""
    entrance: Authentication | None = request.app.state.entrance
    if entrance is None:
        raise InvalidRequest("this site has no keys", "key")
    settings: Settings = request.app.state.settings
    address = request.client.host if request.client else ""
    principal = await entrance.authenticate([(b"x-api-key", body.key.encode())], address)
    if principal.key_id is None:
        raise InvalidRequest("is not one of this site's keys", "key")
    response.set_cookie(
        COOKIE,
        entrance.sessions.seal(body.key),
        max_age=LIFETIME_S,
        path="/",
        secure=own_url(settings).startswith("https:"),
        httponly=True,
        samesite="strict",
    )
    return _described(principal, settings)


@router.delete("", status_code=204, response_description="Signed out", responses={403: _REFUSED[403]})
async def sign_out(response: Response) -> None:
    """Removes the cookie. The key stays valid."""
    response.delete_cookie(COOKIE, path="/")


def _described(principal: Principal, settings: Settings) -> SessionResponse:
    required = is_key_required(settings)
    if principal == LINK:
        return SessionResponse(required=required, user_id=None, role=None, scopes=[])
    return SessionResponse(
        required=required, user_id=principal.user_id, role=principal.role, scopes=sorted(principal.scopes)
    )
