"""`GET /v1/models`: the illustration families."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from serve.api.http.drawing import Illustrates
from serve.api.openapi.operation import TEXT, WHOLE, answer, json_object, list_of
from serve.ensembles.illustrator.illustration import FamilyInfo, IllustratorService
from serve.errors import NotFound

router = APIRouter()

_MODEL = json_object({
    "id": {**TEXT, "example": "mini"}, "object": {"const": "model"}, "created": {**WHOLE, "description": "Unix time"},
    "owned_by": {**TEXT, "example": "atelier"},
})  # fmt: skip


@router.get("/models", openapi_extra=answer("All", json_object({"object": {"const": "list"}, "data": list_of(_MODEL)})))
async def list_models(request: Request) -> dict[str, Any]:
    """Every model that draws here. None is an empty list."""
    illustrator: IllustratorService | None = request.app.state.illustrator
    families = [] if illustrator is None else await illustrator.families()
    return {"object": "list", "data": [_model(family) for family in families]}


@router.get("/models/{model:path}", openapi_extra=answer("It", _MODEL))
async def retrieve_model(model: str, illustrator: Illustrates) -> dict[str, Any]:
    """One model that draws here."""
    for family in await illustrator.families():
        if family.name == model:
            return _model(family)
    raise NotFound(f"there is no model {model[:64]!a}; GET /v1/models lists them", "model")


def _model(family: FamilyInfo) -> dict[str, Any]:
    return {"id": family.name, "object": "model", "created": family.created, "owned_by": "atelier"}
