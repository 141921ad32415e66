"""The OpenAPI document: FastAPI's own, completed by `finish` with what all routes have in common. Begin there."""

from __future__ import annotations

from serve.api.openapi.finish import finish

__all__ = ["finish"]
