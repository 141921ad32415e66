"""`GET /v1/models`: the illustration families."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from serve.api.http.drawing import Illustrates
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.errors import NotFound

router = APIRouter()


class ModelCard(BaseModel):
    id: Annotated[str, Field(examples=["mini"])]
    object: Literal["model"]
    created: Annotated[int, Field(description="Unix time")]
    owned_by: Annotated[str, Field(examples=["atelier"])]


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


@router.get("/models", response_model=ModelList, response_description="All")
async def list_models(request: Request) -> dict[str, Any]:
    """Every model that draws here. None is an empty list."""
    illustrator: IllustratorService | None = request.app.state.illustrator
    families = [] if illustrator is None else await illustrator.families()
    return {"object": "list", "data": [_model(family) for family in families]}


@router.get("/models/{model:path}", response_model=ModelCard, response_description="It")
async def retrieve_model(model: str, illustrator: Illustrates) -> dict[str, Any]:
    """One model that draws here."""
    for family in await illustrator.families():
        if family.name == model:
            return _model(family)
    raise NotFound(f"there is no model {model[:64]!a}; GET /v1/models lists them", "model")


def _model(family: FamilyInfo) -> dict[str, Any]:
    return {"id": family.name, "object": "model", "created": family.created, "owned_by": "atelier"}
