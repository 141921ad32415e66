"""`/openapi.json`, and `/docs`, a page that shows it. Open to everybody; nothing is loaded from elsewhere.

The page is Swagger UI (Apache-2.0) as the package fastapi-offline carries it; of that, its files alone are used.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import distribution
from pathlib import Path

from fastapi import APIRouter, Request, Response

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
_REVALIDATED = "no-cache"
"""Cached, and revalidated each time: another release has other files under the same names."""


@router.api_route(OPENAPI, methods=["GET", "HEAD"])
async def document(request: Request) -> Response:
    return await _answer(request, "application/json", lambda: _document_of(request))


@router.api_route(DOCS, methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    answer = await _answer(request, _HTML, _PAGE.encode)
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


@router.api_route(f"{DOCS}/start.js", methods=["GET", "HEAD"])
async def start(request: Request) -> Response:
    return await _answer(request, _SCRIPT, _START.encode)


def _add_file(name: str, media_type: str) -> None:
    @router.api_route(f"{DOCS}/{name}", methods=["GET", "HEAD"])
    async def file(request: Request) -> Response:
        return await _answer(request, media_type, lambda: _file(name))


_add_file("swagger-ui-bundle.js", _SCRIPT)
_add_file("swagger-ui.css", "text/css; charset=utf-8")
_add_file("favicon.png", "image/png")


def _document_of(request: Request) -> bytes:
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = json.dumps(request.app.openapi(), separators=(",", ":")).encode()
    document: bytes = state.document
    return document


@cache
def _file(name: str) -> bytes:
    path = distribution("fastapi-offline").locate_file(f"fastapi_offline/static/{name}")
    return Path(str(path)).read_bytes()


@lru_cache(maxsize=16)
def _tag_of(content: bytes) -> str:
    return f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak: it may be compressed on its way


async def _answer(request: Request, media_type: str, content: Callable[[], bytes]) -> Response:
    """The content is made in a thread: it reads files, and the document takes long to generate."""
    body = await asyncio.to_thread(content)
    headers = {"Cache-Control": _REVALIDATED, "ETag": _tag_of(body), "Vary": "Accept-Encoding"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = await asyncio.to_thread(_compressed, body)
        headers["Content-Encoding"] = "gzip"
    return Response(body, 200, headers, media_type)


@lru_cache(maxsize=16)
def _compressed(content: bytes) -> bytes:
    """Compressed once and cached: the pages are public."""
    return gzip.compress(content)
