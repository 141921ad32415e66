"""Completes FastAPI's OpenAPI document: operation ids, tags, security, errors, headers, examples.

A route documents itself by its docstring, whose first sentence is the summary, and by its models. A test fails for a
route that does not; nothing is invented for it here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from serve.api.middleware.deadlines import MAX_TIMEOUT_S, PRIORITIES, PRIORITY, REQUEST_TIMEOUT
from serve.api.middleware.scopes import needed
from serve.api.openapi.operation import example_of, has_content, header, inlined
from serve.api.openapi.refusals import BY_STATUS, PATH_PARAMETERS, TAGS, responses_of, statuses_of, tag_of
from serve.security.identity.authentication import is_key_required
from serve.security.identity.roles import ROLES
from serve.security.limits.limiter import HEADER_NAMES as RATE_LIMIT_HEADERS
from serve.settings import Settings

SCOPE = "x-required-scope"
PROBLEM = "application/problem+json"
_METHODS = ("get", "put", "post", "delete", "patch")
_RANGES = ("4XX", "5XX")
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}
_HEADERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "X-Request-Id": ("The request's own, if it had a plain one; logs have it.", _TEXT, "5f0c6f3f0b7e4f6f9c7d2a1b"),
    "Retry-After": ("Seconds.", _WHOLE, 12),
    "WWW-Authenticate": ("How to show a key.", _TEXT, "Bearer"),
    "RateLimit": ("Of each limit: what is left, and seconds until it is whole again.", _TEXT, '"address";r=99;t=900'),
    "RateLimit-Policy": ("Each limit: how many in how many seconds.", _TEXT, '"address";q=100;w=900'),
    "RateLimit-Limit": ("Of the nearest limit.", _WHOLE, 100),
    "RateLimit-Remaining": ("Of the nearest limit.", _WHOLE, 99),
    "RateLimit-Reset": ("Seconds, of the nearest limit.", _WHOLE, 900),
    "Location": ("Where it is.", _TEXT, "/v1/jobs/5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"),
    "X-Atelier-Cache": (
        "Whether the answer is a stored one.", {"type": "string", "enum": ["hit", "miss", "bypass"]}, "miss",
    ),
}  # fmt: skip
_TIMEOUT = {"type": "number", "minimum": 0.001, "maximum": MAX_TIMEOUT_S}
_PRIORITY = {"type": "string", "enum": list(PRIORITIES), "default": "normal"}
_CONTEXT_HEADERS = {
    REQUEST_TIMEOUT: {**header(REQUEST_TIMEOUT, _TIMEOUT, "In how many seconds the answer is of use."), "example": 30},
    PRIORITY: header(PRIORITY, _PRIORITY, "How urgent it is; `high` may be for admins alone."),
}
"""Headers of every operation but health probes (`serve.api.middleware.deadlines`)."""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: KEY`"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The key as the password, for clients that know nothing else; the user's name may be any.",
    },
    "signed_address": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "An address that has it, as answers tell them, opens itself alone until `expires`.",
    },
}


def finish(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A completed copy of ``document``, parts of which are constants of the routes."""
    document = json.loads(json.dumps(document))
    document["info"]["license"] = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
    if settings.http.public_url is not None:
        document["servers"] = [{"url": settings.http.public_url.rstrip("/")}]
    components = document.setdefault("components", {})
    schemas, responses = components.setdefault("schemas", {}), components.setdefault("responses", {})
    components["securitySchemes"] = _SCHEMES
    components["headers"] = {
        name: {"description": what, "schema": schema, "example": example}
        for name, (what, schema, example) in _HEADERS.items()
    }
    components["parameters"] = _CONTEXT_HEADERS
    optional = not is_key_required(settings)
    used = set()
    for path, method, operation in operations_of(document):
        scope = needed(method.upper(), path)
        _name(path, method, operation)
        used.update(operation["tags"])
        _secure(operation, scope, optional)
        if scope is not None:
            _add_context_headers(operation)
        _add_errors(path, method, scope, operation, schemas, responses)
        _add_response_headers(operation, scope)
        _add_examples(operation, schemas)
    document["tags"] = [{"name": name, "description": what} for name, what in TAGS.items() if name in used]
    return document


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method in lower case, operation)"""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _name(path: str, method: str, operation: dict[str, Any]) -> None:
    """FastAPI's default summary is the name of the function; the first sentence of the docstring replaces it."""
    summary = operation.pop("summary", "")
    if operation["operationId"].startswith(summary.lower().replace(" ", "_") + "_"):
        summary = re.split(r"(?<=[.:;])\s", operation.get("description", ""))[0].rstrip(".:;")
    if summary:
        operation["summary"] = summary
    operation["operationId"] = "_".join([method, *re.findall(r"\w+", path.replace("-", "_"))])
    tag = tag_of(path)
    operation.setdefault("tags", [tag])


def _secure(operation: dict[str, Any], scope: str | None, optional: bool) -> None:
    if scope is None:
        operation["security"] = []
        return
    schemes = ["bearer", "api_key", "basic"]
    if any(one.get("name") == "signature" for one in operation.get("parameters", ())):
        schemes.append("signed_address")
    operation["security"] = [{scheme: [scope] if scheme != "signed_address" else []} for scheme in schemes]
    if optional and scope in _USER_SCOPES:
        operation["security"].append({})
    operation[SCOPE] = scope
    if "description" in operation:
        operation["description"] += f"\n\nNeeds the scope `{scope}`."


def _add_context_headers(operation: dict[str, Any]) -> None:
    references = [{"$ref": f"#/components/parameters/{name}"} for name in _CONTEXT_HEADERS]
    operation["parameters"] = [*operation.get("parameters", ()), *references]


_USER_SCOPES = ROLES["user"]
"""Scopes of requests without a key on a site without keys."""


def _add_errors(
    path: str,
    method: str,
    scope: str | None,
    operation: dict[str, Any],
    schemas: dict[str, Any],
    responses: dict[str, Any],
) -> None:
    """Replaces the status ranges of a router (`problems.described`) by the single statuses of its error schema."""
    own = operation["responses"]
    ranges = [own.pop(name) for name in _RANGES if name in own]
    if not ranges:
        return
    ((media_type, content),) = ranges[0]["content"].items()
    new_name = "Problem" if media_type == PROBLEM else _camel_case(operation["tags"][0]) + "Error"
    name = next((known for known, schema in schemas.items() if schema == content["schema"]), new_name)
    if name not in schemas:
        schemas[name] = content["schema"]
        responses.update(responses_of(media_type, name, content["schema"]))
    declared = {int(status) for status in own if status.isdigit() and int(status) in BY_STATUS}
    for status in sorted({*statuses_of(method, path, scope, operation), *declared}):
        if "content" not in own.get(str(status), {}):
            own[str(status)] = {"$ref": f"#/components/responses/{name}{status}"}


def _camel_case(tag: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in tag.split())


def _add_response_headers(operation: dict[str, Any], scope: str | None) -> None:
    """Adds headers, and removes the untyped JSON that FastAPI documents for a route without a response model."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema") == {}:
            del content["application/json"]
        if "$ref" not in response:
            names = ["X-Request-Id", *(RATE_LIMIT_HEADERS if scope is not None and status < "4" else ())]
            headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
            response["headers"] = headers | response.get("headers", {})
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _add_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Generates examples of bodies, answers and parameters from their schemas, where they have none."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            schema = inlined(content.get("schema", {}), schemas)
            if not {"example", "examples"} & content.keys() and has_content(schema) and _is_text(media_type):
                content["example"] = example_of(schema)
    for parameter in operation.get("parameters", ()):
        if "$ref" in parameter:
            continue
        schema = inlined(parameter.get("schema", {}), schemas)
        if parameter["name"] in PATH_PARAMETERS:
            parameter.setdefault("description", PATH_PARAMETERS[parameter["name"]])
        if not {"example", "examples"} & parameter.keys() and parameter.get("required"):
            parameter["example"] = example_of(schema, parameter["name"])


def _is_text(media_type: str) -> bool:
    """Whether an example can be text, unlike that of a picture."""
    return media_type == "application/json" or media_type.startswith("multipart/")
