"""The OpenAI vocabulary under /v1, as its clients send it. Begin with `images`; its models are in `image_models`."""

from __future__ import annotations

from fastapi import APIRouter

from serve.api.openai import edits, images, models
from serve.api.openai.errors import SCHEMA as ERROR_SCHEMA
from serve.api.openai.errors import as_error

__all__ = ["ERROR_SCHEMA", "as_error", "router"]

router = APIRouter(prefix="/v1")
router.include_router(images.router)
router.include_router(edits.router)
router.include_router(models.router)
