"""The scope that a request needs: from its method and path, before anything else of it is read.

A path without a rule here needs `read` for GET and HEAD and `write` for other methods, so that a new route is never
open by default.
"""

from __future__ import annotations

from serve.security.identity.roles import ADMIN, GENERATE, INFERENCE, METRICS, READ, WRITE

READS = frozenset(["GET", "HEAD"])
PROBES = ("/health/", "/v2/health/", "/-/")
OPENAPI, DOCS, STUDIO = "/openapi.json", "/docs", "/studio"
STUDIO_PAGES = (
    "/",
    "/director",
    "/prompts",
    "/foryou",
    "/vectorise",
    "/restyle",
    "/queue",
    "/gallery",
    "/references",
    "/models",
    "/operate",
    "/profile",
)
"""Addresses of the web application's pages. They hold no data of the site: the pages ask for it with a key."""
SESSION = "/api/session"
_OPEN_PAGES = frozenset(
    [
        OPENAPI,
        DOCS,
        *STUDIO_PAGES,
        *(f"{DOCS}/{name}" for name in ("start.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")),
    ]
)
"""Pages about the software, without data of the site."""
_FIGURES = frozenset(["/api/admin/quality", "/api/admin/costs"])
_MADE = (
    "/v1/jobs", "/v1/batches", "/v1/images", "/generate", "/api/generate", "/api/illustrations", "/api/diffusion",
    "/api/pictures", "/api/style-transfer", "/api/captions",
    "/api/convert", "/api/convert-ai", "/api/analyze-image", "/sdapi", "/internal", "/controlnet",
    "/api/llm/act", "/api/orchestrator/generate",
)  # fmt: skip
_BELOW_MADE = tuple(f"{prefix}/" for prefix in _MADE)


def needed(method: str, path: str) -> str | None:
    """The scope; None for public paths. A WebSocket's ``method`` is GET."""
    if path.startswith(PROBES) or path == SESSION:
        return None
    if method in READS and (path in _OPEN_PAGES or _below(STUDIO, path)):
        return None
    if _below("/api/admin", path):
        return METRICS if path in _FIGURES and method in READS else ADMIN
    if method in READS:
        return READ
    if _below("/v2", path):
        return INFERENCE
    return GENERATE if path in _MADE or path.startswith(_BELOW_MADE) else WRITE


def _below(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")
