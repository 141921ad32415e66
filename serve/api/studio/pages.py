"""The built files of the web application (`make studio` builds them), read once and served from memory.

`/` and the application's own addresses (`PAGES` in `serve.api.middleware.scopes`) answer its only HTML document; all
other files are below `/studio/`. Files under `assets/` have the hash of their content in their name and are cached for
ever. Each text file was compressed when it was built.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from serve.api.http.static_files import REVALIDATED, StaticFile
from serve.api.middleware.scopes import STUDIO, STUDIO_PAGES
from serve.errors import NotFound
from serve.settings import project_path

router = APIRouter(include_in_schema=False)

BUILT = "studio/dist"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""React sets inline styles; all scripts are files. `blob:` shows pictures that the page has not sent yet."""
_ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""By preference."""
_FOREVER = "public, max-age=31536000, immutable"
_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json"}
_NOT_BUILT = b"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Atelier</title>
<h1>Atelier is running</h1>
<p>Its web application is not built here. In a checkout, <code>make studio</code> builds it; then restart the stack.</p>
<p><a href="/docs">The HTTP API</a></p>
</html>
"""


@cache
def _files(folder: Path) -> Mapping[str, StaticFile]:
    """All files below ``folder``, by their relative path."""
    packed = tuple(_ENCODINGS.values())
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in packed]
    return {path.relative_to(folder).as_posix(): _read(path) for path in paths}


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    media_type = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = {name: path.with_name(path.name + suffix) for name, suffix in _ENCODINGS.items()}
    return StaticFile(content, media_type, {name: file.read_bytes() for name, file in packed.items() if file.is_file()})


async def page(request: Request) -> Response:
    """The application, for every address that it has a page for."""
    file = (await asyncio.to_thread(_files, project_path(BUILT))).get("index.html")
    if file is None:
        return Response(_NOT_BUILT, 404, media_type="text/html")
    response = file.answer(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


for _path in STUDIO_PAGES:
    router.add_api_route(_path, page, methods=["GET", "HEAD"])


@router.api_route(f"{STUDIO}/{{name:path}}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    """One of the application's files. Raises NotFound."""
    found = (await asyncio.to_thread(_files, project_path(BUILT))).get(name)
    if found is None or name == "index.html":
        raise NotFound("the web application has no such file", "path")
    response = found.answer(request, _FOREVER if name.startswith("assets/") else REVALIDATED)
    if name == "worker.js":
        response.headers["Service-Worker-Allowed"] = "/"
        response.headers["Content-Security-Policy"] = POLICY
    return response
