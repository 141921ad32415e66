"""`/openapi.json`, and `/docs`, a page that shows it. Open to everybody; nothing is loaded from elsewhere.

The page is Swagger UI (Apache-2.0) as the package fastapi-offline carries it; of that, its files alone are used.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.static_files import StaticFile
from serve.api.middleware.scopes import DOCS, OPENAPI

router = APIRouter(include_in_schema=False)

DESCRIPTION = """\
Prompts to pictures, pictures to SVG; jobs, history and files. Every answer carries `X-Request-Id`, and a site that
limits its clients tells how they stand in `RateLimit-*`.

Errors are told in the words of the path that was asked: RFC 9457 problems, OpenAI's `{"error": {...}}` below `/v1`
where OpenAI's clients ask, `{"error": "..."}` below `/v2`. What can be asked again later has `Retry-After`.
`X-Request-Timeout` says in how many seconds the answer is of use, `X-Priority` (low, normal, high) how urgent it is.

Where a site needs keys, `atelier keys create` makes them. A key may do what its scopes say; each operation names the
one that it needs (`x-required-scope`).
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets inline styles; all scripts are files."""
_PAGE = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier: the HTTP API</title>
<link rel="icon" type="image/png" href="{DOCS}/favicon.png">
<link rel="stylesheet" href="{DOCS}/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<noscript>This page needs scripts; <a href="{OPENAPI}">the document itself</a> needs none.</noscript>
<script src="{DOCS}/swagger-ui-bundle.js"></script>
<script src="{DOCS}/start.js"></script>
</body>
</html>
"""
_START = f"""\
SwaggerUIBundle({{
  url: "{OPENAPI}",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  validatorUrl: null,
}});
"""
_HTML, _SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"


@router.api_route(OPENAPI, methods=["GET", "HEAD"])
async def document(request: Request) -> Response:
    state = request.app.state
    if not hasattr(state, "document"):  # in a thread, as it takes long to generate
        state.document = await asyncio.to_thread(lambda: _static("application/json", _as_json(request.app.openapi())))
    file: StaticFile = state.document
    return file.answer(request)


@router.api_route(DOCS, methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    answer = _static(_HTML, _PAGE.encode()).answer(request)
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


@router.api_route(f"{DOCS}/start.js", methods=["GET", "HEAD"])
async def start(request: Request) -> Response:
    return _static(_SCRIPT, _START.encode()).answer(request)


def _add_file(name: str, media_type: str) -> None:
    @router.api_route(f"{DOCS}/{name}", methods=["GET", "HEAD"])
    async def file(request: Request) -> Response:
        return (await asyncio.to_thread(_file, name, media_type)).answer(request)


_add_file("swagger-ui-bundle.js", _SCRIPT)
_add_file("swagger-ui.css", "text/css; charset=utf-8")
_add_file("favicon.png", "image/png")


def _as_json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@cache
def _file(name: str, media_type: str) -> StaticFile:
    path = distribution("fastapi-offline").locate_file(f"fastapi_offline/static/{name}")
    return _static(media_type, Path(str(path)).read_bytes())


@cache
def _static(media_type: str, content: bytes) -> StaticFile:
    """Compressed once and cached: the pages are public."""
    return StaticFile(content, media_type, {"gzip": gzip.compress(content)})
