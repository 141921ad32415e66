"""LoRAs of the site: add, list, show, remove. All of its users draw with them; who added one may remove it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from serve.api.http.bodies import CappedRequest, CappedRoute
from serve.api.http.drawing import Illustrates
from serve.api.http.models import RequestModel, Text, Time
from serve.api.http.ownership import with_owner
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.library.files import ConversionTurns
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import FORM
from serve.errors import Forbidden, InvalidRequest
from serve.settings import LimitsSettings
from serve.state.loras import LoraStore, StoredLora, check_name


class _LoraRequest(CappedRequest):
    """Its body may be as large as a LoRA."""

    @property
    def _limits(self) -> LimitsSettings:
        settings = self.app.state.settings
        limits: LimitsSettings = settings.limits
        return limits.model_copy(update={"max_body_bytes": max(limits.max_body_bytes, settings.loras.max_bytes)})


class LoraRoute(CappedRoute):
    request_class = _LoraRequest


router = APIRouter(prefix="/v1/loras", route_class=LoraRoute)


class LoraForm(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"file": "the bytes of ink.safetensors", "name": "ink"}]})

    file: Annotated[
        UploadFile,
        WithJsonSchema(
            {
                "type": "string",
                "format": "binary",
                "description": "safetensors, as diffusers, PEFT or kohya's scripts write it",
            }
        ),
    ]
    name: Annotated[Text | None, Field(max_length=64, description="that of the file by default")] = None


class LoraItem(BaseModel):
    name: str
    families: Annotated[list[str], Field(description="the models that it is for", examples=[["mini"]])]
    parts: Annotated[list[str], Field(description="the engines that it changes", examples=[["unet"]])]
    rank: int
    layers: Annotated[int, Field(description="how many it changes")]
    bytes: int
    user_id: Annotated[str, Field(description="who added it")]
    created_at: Time


class LoraList(BaseModel):
    items: list[LoraItem]


async def store_of(state: StateOf) -> LoraStore:
    return LoraStore(state)


Store = Annotated[LoraStore, Depends(store_of)]


@router.post("", status_code=201, response_model=LoraItem, response_description="It can be drawn with at once")
async def add(
    body: Annotated[LoraForm, FORM],
    request: Request,
    store: Store,
    illustrator: Illustrates,
    turns: ConversionTurns,
) -> Response:
    """Add a LoRA. No engine is loaded again, and no picture under way is disturbed."""
    name = check_name(PurePath(body.file.filename or "").stem if body.name is None else body.name)
    user_id = principal_of(request).acting_user_id(None)
    async with turns.slot():
        data = await body.file.read()
        if not data:
            raise InvalidRequest("is empty", "file")
        found = await illustrator.check_lora(data)
        entry = with_owner(request, "lora.add", name, user_id=user_id)
        made = await store.add(name, data, found.families, found.parts, found.rank, found.layers, user_id, entry)
    response = render(_json(made), 201, None)
    response.headers["Location"] = f"{router.prefix}/{made.name}"
    return response


@router.get("", response_model=LoraList, response_description="In the order of their names")
async def list_loras(store: Store) -> Response:
    """The LoRAs of the site."""
    return render({"items": [_json(lora) for lora in await store.all()]}, 200, None)


@router.get("/{name}", response_model=LoraItem, response_description="It")
async def show(name: str, store: Store) -> Response:
    """What is known of a LoRA."""
    return render(_json(await store.get(name)), 200, None)


@router.delete("/{name}", status_code=204, response_description="It is gone")
async def remove(name: str, request: Request, store: Store) -> Response:
    """Remove a LoRA. Pictures under way keep it."""
    lora, principal = await store.get(name), principal_of(request)
    if lora.user_id != principal.user_id and not principal.sees_all:
        raise Forbidden("this LoRA was added by another user")
    await store.remove(name, with_owner(request, "lora.remove", name, user_id=lora.user_id))
    return Response(status_code=204)


def _json(lora: StoredLora) -> dict[str, Any]:
    return {**{name: getattr(lora, name) for name in LoraItem.model_fields}, "created_at": lora.created_at.isoformat()}
