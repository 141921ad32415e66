"""The HTTP application: every router, the handlers that turn errors into answers, the middleware. No Ray."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from serve.api import a1111, jobs, mind, openai, studio
from serve.api.admin import accounts, costs, quality, releases, versions
from serve.api.captions import describing
from serve.api.captions import routes as captions
from serve.api.http.problems import as_atelier_error, as_problem, described
from serve.api.inference import http as open_inference
from serve.api.inference.models import Models
from serve.api.jobs import JobServices
from serve.api.library import editing, gallery, loras, references, results, similar
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware, Refusals
from serve.api.middleware.deadlines import PRIORITY, REQUEST_TIMEOUT, Deadlines
from serve.api.middleware.origin_check import OriginCheck
from serve.api.middleware.request_metrics import HTTP, count_refusal
from serve.api.middleware.request_trace import RequestTrace
from serve.api.middleware.response_headers import RequestId
from serve.api.mind.analyser import choose_engine
from serve.api.native import control_picture, conversion, diffusion, health, illustrations, layout, pictures, styles
from serve.api.openapi import finish, reference_page
from serve.api.restyling import routes as restyling
from serve.api.restyling.styles import site_styles
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, Overloaded, Unauthorized, Unsupported
from serve.jobs.direct.service import DirectService
from serve.observability import tracing
from serve.security.limits.limiter import HEADER_NAMES as RATE_LIMIT_HEADERS
from serve.settings import Settings
from serve.state import State

LOGGER = logging.getLogger(__name__)

_NATIVE_PATHS = tuple(f"/v1/{name}" for name in ("jobs", "batches", "queue", "results", "generations", "me", "loras"))
"""Paths below OpenAI's prefix that are not OpenAI's."""

_NOT_LOGGED = (Overloaded, Unsupported)
"""Errors of status 5xx that clients cause at will and that are no fault of the server."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_REQUEST_HEADERS = (
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "X-API-Key",
    PRIORITY,
    REQUEST_TIMEOUT,
)
_RESPONSE_HEADERS = (
    "Content-Range", "ETag", "Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After", "X-Atelier-Cache",
    "X-Atelier-Served-By", "X-Request-Id", tracing.RESPONSE, *RATE_LIMIT_HEADERS,
)  # fmt: skip
"""Headers that pages of other origins may send and read (CORS)."""


class Documented(FastAPI):
    """FastAPI with a completed OpenAPI document, which is made once, at its first request."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = finish(super().openapi(), self.state.settings)
        return self.openapi_schema


def create_app(
    service: VectorizerService,
    settings: Settings,
    models: Models | None = None,
    illustrator: IllustratorService | None = None,
    state: State | None = None,
    direct: DirectService | None = None,
    entrance: Authentication | None = None,
) -> FastAPI:
    """The services are the ensembles or the same across a Ray hop; ``models`` is shared with gRPC.

    Without a ``state`` nothing is kept: there are answers, and no jobs, history or addresses of pictures. Without an
    ``entrance`` there are neither API keys nor rate limits.
    """
    app = _documented(settings)
    app.state.service = service
    app.state.illustrator = illustrator
    app.state.state = state
    app.state.entrance = entrance
    app.state.direct = direct or DirectService(None, illustrator, service, settings)
    app.state.models = models or Models(
        service,
        settings,
        illustrator,
        app.state.direct.version_selector,
        state.database if state is not None else None,
        state,
    )
    app.state.jobs = JobServices(state) if state is not None else None
    app.state.a1111 = a1111.ProgressRegistry()
    app.state.styles = styles.StyleBook(settings.pictures.styles)
    app.state.style_pictures = site_styles(settings)
    app.add_exception_handler(AtelierError, answer)
    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(RequestValidationError, answer)
    app.add_exception_handler(Exception, answer)
    app.add_middleware(Deadlines, gateway=settings.gateway, answer=answer)
    app.add_middleware(OriginCheck, settings=settings, answer=answer)
    app.add_middleware(Refusals, answer=answer)
    app.add_middleware(AuthenticationMiddleware, entrance=lambda: entrance)
    if settings.http.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.http.allowed_origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
        )
    app.add_middleware(GZipMiddleware, minimum_size=settings.limits.gzip_min_bytes, compresslevel=5)
    app.add_middleware(RequestTrace, requests=settings.logs.requests)
    app.add_middleware(RequestId)
    return app


def openapi_document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document of a site with these settings."""
    return _documented(settings).openapi()


def _documented(settings: Settings) -> Documented:
    app = Documented(
        title="Atelier",
        version=version("atelier"),
        summary="Self-hosted serving stack for generative art.",
        description=reference_page.DESCRIPTION,
        openapi_url=None,  # serve.api.openapi.reference_page has it, and pages that load nothing from elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be made from the caller's Host header
        routes=_routes(),
    )
    app.state.settings = settings
    choose_engine(settings.illustrator)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Shared by all applications: FastAPI prepares them at the first request, anew for each list of them."""
    site = APIRouter()
    # The hot ones first, as they are compared one by one, here and by Ray Serve. Conversions and inferences of engines
    # have routes of their own before both (`serve.api.middleware.hot_routes`).
    site.include_router(conversion.router, responses=described())
    site.include_router(open_inference.router, responses=described("application/json", {"error": {"type": "string"}}))
    for router in (similar.router, gallery.router, jobs.router, results.router, editing.router, references.router,
                   loras.router, quality.router,
                   accounts.router, costs.router, releases.router, versions.router, illustrations.router,
                   diffusion.router, styles.router, layout.router, control_picture.router,
                   pictures.router):  # fmt: skip
        site.include_router(router, responses=described())
    site.include_router(mind.router, responses=described())
    site.include_router(restyling.router, responses=described())
    site.include_router(captions.router, responses=described())
    site.include_router(describing.router, responses=described())
    site.include_router(openai.router, responses=described("application/json", openai.ERROR_SCHEMA))
    site.include_router(a1111.router, responses=described("application/json", a1111.ERROR_SCHEMA))
    site.include_router(health.router, responses=described())
    site.include_router(studio.router, responses=described())
    site.include_router(reference_page.router)
    return site.routes


async def answer(request: Request, error: Exception) -> Response:
    """Renders any error, in the shape of the path's vocabulary: also FastAPI's `RequestValidationError`."""
    error = as_atelier_error(error)
    count_refusal(HTTP, error)
    if error.status >= 500 and not isinstance(error, _NOT_LOGGED):
        LOGGER.warning("answered %d %s: %s", error.status, error.label(), error)
    response = _render_error(request, error)
    if isinstance(error, Unauthorized):
        response.headers.setdefault("WWW-Authenticate", error.challenge)
    return response


def _render_error(request: Request, error: AtelierError) -> Response:
    path = request.url.path
    if path.startswith(open_inference.router.prefix):
        return open_inference.as_error(error)
    if path.startswith(openai.router.prefix) and not path.startswith(_NATIVE_PATHS):
        return openai.as_error(request, error)
    if path.startswith(a1111.PREFIXES):
        return a1111.as_error(error)
    return as_problem(request, error)
