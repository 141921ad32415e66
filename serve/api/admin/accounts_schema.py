"""What OpenAPI says of keys, users and the audit log."""

from __future__ import annotations

from typing import Any

from serve.api.http.ownership import MAX_USER
from serve.api.openapi.operation import (
    CONFLICT,
    FLAG,
    MAYBE_TEXT,
    MAYBE_TIME,
    TEXT,
    TIME,
    UNKNOWN,
    WHOLE,
    answer,
    body,
    json_object,
    list_of,
    page,
    paging,
    query,
)
from serve.security.identity.keys import ACTIVE, EXPIRED, LONGEST, REVOKED
from serve.security.identity.names import MAX_NAME, USER_ID
from serve.security.identity.roles import ROLES, SCOPES
from serve.security.identity.users import MOST_ITEMS

MAX_TEXT = 256
USUAL_ITEMS = 50
_USER_ID = {**TEXT, "minLength": 1, "maxLength": MAX_USER}
_NEW_ID = {**TEXT, "pattern": f"^{USER_ID}$"}
_NAME = {**TEXT, "maxLength": MAX_NAME}
_ANY = {**TEXT, "maxLength": MAX_TEXT}
_ROLE = {"type": "string", "enum": list(ROLES)}
_SCOPES = list_of({"type": "string", "enum": list(SCOPES)})
_TERM = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST.days * 86_400, "description": "seconds"}
_KEY_ID = {**TEXT, "description": "No secret: it only names the key."}
KEY = {
    "id": _KEY_ID, "user_id": TEXT, "name": TEXT, "scopes": _SCOPES, "created_at": TIME, "expires_at": MAYBE_TIME,
    "used_at": {**MAYBE_TIME, "description": "to the minute"}, "revoked_at": MAYBE_TIME,
    "status": {"type": "string", "enum": [ACTIVE, EXPIRED, REVOKED], "example": ACTIVE},
}  # fmt: skip
USER = {"id": {**TEXT, "example": "ada"}, "name": TEXT, "role": _ROLE, "created_at": TIME, "disabled_at": MAYBE_TIME}
_ENTRY = {
    "seq": WHOLE, "user_id": MAYBE_TEXT, "key_id": MAYBE_TEXT, "action": TEXT, "subject": MAYBE_TEXT,
    "details": {"description": "what else is known of it", "example": {"role": "user"}}, "address": MAYBE_TEXT,
    "created_at": TIME,
}  # fmt: skip
_SECRET = {**TEXT, "description": "The whole key.", "example": "atelier_k7d1e0f3a_…"}
_ME = {"user_id": TEXT, "role": {**TEXT, "example": "user"}, "scopes": _SCOPES, "key_id": MAYBE_TEXT, "name": TEXT}

ME = answer("Who asks", json_object(_ME))
NEW_KEY: dict[str, Any] = {
    **body(
        {
            "type": "object",
            "required": ["user_id"],
            "additionalProperties": False,
            "properties": {
                "user_id": _NEW_ID,
                "role": {**_ROLE, "description": "makes the user, if there is none"},
                "scopes": {**_SCOPES, "minItems": 1, "description": "some of the role's; all of them by default"},
                "name": _NAME,
                "expires_in_s": _TERM,
            },
        },
        {"user_id": "ada", "role": "user", "name": "laptop", "expires_in_s": 2_592_000},
    ),
    **answer(
        "It is made",
        json_object({**KEY, "role": _ROLE, "key": _SECRET}),
        201,
        r404=UNKNOWN["404"],
        r409=CONFLICT["409"],
    ),
}
KEYS = {
    "parameters": [
        query("user_id", _USER_ID, "Of this user alone."),
        query("active", FLAG, "Those alone that may be used."),
        *paging(MOST_ITEMS, USUAL_ITEMS),
    ],
    **answer("A page, the newest first", page("keys", json_object(KEY))),
}
REVOKED_KEY = answer("It is revoked", json_object(KEY), r409=CONFLICT["409"])
USERS = {
    "parameters": paging(MOST_ITEMS, USUAL_ITEMS),
    **answer("A page, by their ids", page("users", json_object(USER))),
}
NEW_USER: dict[str, Any] = {
    **body(
        {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {"id": _NEW_ID, "role": {**_ROLE, "default": "user"}, "name": _NAME},
        },
        {"id": "ada", "role": "user", "name": "Ada"},
    ),
    **answer("It is made", json_object(USER), 201, r409=CONFLICT["409"]),
}
CHANGE: dict[str, Any] = {
    **body(
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {"role": _ROLE, "disabled": FLAG},
        },
        {"role": "read-only"},
    ),
    **answer("As it is now", json_object(USER), r409=CONFLICT["409"]),
}
AUDIT = {
    "parameters": [
        *(query(name, _ANY, "Of this alone.") for name in ("user_id", "key_id", "action", "subject", "address")),
        query("since", TIME, "ISO 8601; UTC unless it has a zone."),
        query("until", TIME, "The end, which is not part of it."),
        *paging(MOST_ITEMS, USUAL_ITEMS),
    ],
    **answer("A page, the newest first", page("entries", json_object(_ENTRY))),
}
