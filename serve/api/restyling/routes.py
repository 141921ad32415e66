"""`POST /api/style-transfer/transfer`, `/svg`, `GET /api/style-transfer/styles` and their pictures (C-011)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.callers import CACHE_HEADER, CallerOf, DrawsDirectly, urls_of
from serve.api.http.drawing import answer_metadata, with_answer_headers
from serve.api.http.models import Number, RequestModel, Text
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.api.native.diffusion import DiffusionResponse
from serve.api.restyling.fields import StyleName, TransferRequest
from serve.api.restyling.requests import restyling_request
from serve.api.restyling.styles import restyled_svg, style_named, styles_of
from serve.errors import NotFound
from serve.state.objects.names import media_type_of

router = APIRouter(prefix="/api/style-transfer", route_class=PictureRoute)

MAX_SVG_CHARACTERS = 5_000_000
_PICTURE_AGE_S = 3600


class SiteStyle(BaseModel):
    name: str
    title: str
    description: str
    aliases: list[str]
    colors: Annotated[list[str], Field(examples=[["#0b1640", "#f2d16b"]], description="from dark to light")]
    image_url: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]


class SiteStylesResponse(BaseModel):
    success: bool
    styles: list[SiteStyle]


class SvgStyleRequest(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "svg": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><path d="M0 0H2V2Z"/></svg>',
                    "style": "woodcut",
                }
            ]
        }
    )

    svg: Annotated[Text, Field(min_length=1, max_length=MAX_SVG_CHARACTERS, description="an SVG document")]
    style: StyleName
    strength: Annotated[Number, Field(ge=0, le=1, description="0 leaves the colours as they are")] = 1.0


class SvgStyleResponse(BaseModel):
    success: bool
    svg: str
    style: str
    colors: Annotated[dict[str, str], Field(description="what each colour became", examples=[{"#ff0000": "#d1402f"}])]


@router.post(
    "/transfer",
    response_model=DiffusionResponse,
    response_description="The painted picture",
    responses={200: {"headers": CACHE_HEADER}, 501: {}},
    openapi_extra=with_form(TransferRequest, files=("image", "mask", "style_image")),
)
async def transfer(
    body: TransferRequest, request: Request, caller: CallerOf, direct: DrawsDirectly, settings: SiteSettings
) -> Response:
    """A picture painted in the style of another, or in a mixture of several."""
    answer = await direct.draw(await restyling_request(body, request, caller.user_id), caller)
    urls = urls_of(answer, settings)
    content = {
        "success": True,
        "image_url": urls[0],
        "images": [{"image_url": urls[0], "seed": body.seed}],
        "generation_id": answer.generation_id,
        "metadata": answer_metadata(answer),
    }
    return with_answer_headers(render(content, 200, None), answer)


@router.post("/svg", response_model=SvgStyleResponse, response_description="The same drawing in other colours")
async def restyle_svg(body: SvgStyleRequest, request: Request, turns: ConversionTurns) -> Response:
    """An SVG in the colours of a style: the lights and darks of the drawing take those of the style's palette."""
    style = style_named(styles_of(request), body.style, "style")
    async with turns.slot():
        svg, colours = await asyncio.to_thread(restyled_svg, body.svg.encode("utf-8", "replace"), style, body.strength)
    return render({"success": True, "svg": svg, "style": style.entry.name, "colors": colours}, 200, None)


@router.get("/styles", response_model=SiteStylesResponse, response_description="All of them")
async def list_styles(request: Request) -> Any:
    """The styles of this site, with their palettes and addresses of their pictures."""
    made = [
        {**style.entry.model_dump(exclude={"picture"}), "image_url": f"{router.prefix}/styles/{style.entry.name}/image"}
        for style in styles_of(request).values()
    ]
    return {"success": True, "styles": made}


@router.get(
    "/styles/{style}/image",
    response_class=Response,
    responses={200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}},
    response_description="The picture",
)
async def style_image(
    style: Annotated[str, Path(max_length=64, description="A name of `GET /api/style-transfer/styles`.")],
    request: Request,
) -> Response:
    """The picture whose style is taken."""
    found = styles_of(request).get(style)
    if found is None:
        raise NotFound(f"there is no style {style[:64]!a}", "style")
    headers = {"Cache-Control": f"private, max-age={_PICTURE_AGE_S}"}
    return Response(found.data, media_type=media_type_of(found.data), headers=headers)
