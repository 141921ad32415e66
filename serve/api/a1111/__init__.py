"""AUTOMATIC1111's vocabulary, as its clients send it: ``/sdapi/v1`` and the paths that they call beside it
(API_COMPAT 2). Begin with `drawing`; request and answer models are in `models` and `drawing_models`.

What is not offered: 501 for work that cannot be done here yet, an empty list where there is nothing to choose from,
404 for what no client may do (stop the server, unload a model that others use).
"""

from __future__ import annotations

from fastapi import APIRouter

from serve.api.a1111 import controlnet, drawing, extras, img2img, lists, options, pictures, progress
from serve.api.a1111.errors import SCHEMA as ERROR_SCHEMA
from serve.api.a1111.errors import as_error
from serve.api.a1111.progress_registry import ProgressRegistry

__all__ = ["ERROR_SCHEMA", "PREFIXES", "ProgressRegistry", "as_error", "router"]

PREFIXES = ("/sdapi/", "/internal/", "/controlnet/")
"""Of the paths whose errors are in its words."""

router = APIRouter()
for _part in (drawing, img2img, progress, options, lists, pictures, controlnet, extras):
    router.include_router(_part.router)
