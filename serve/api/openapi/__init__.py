"""The OpenAPI document: what FastAPI knows of the routes, finished with what is true of all of them."""

from __future__ import annotations

from serve.api.openapi.finish import finish

__all__ = ["finish"]
