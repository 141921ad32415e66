"""`POST /api/illustrations/controls/preview`: what a preprocessor makes of a picture, before anything is drawn."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated

from fastapi import APIRouter, Query, Response
from PIL import Image
from pydantic import ConfigDict, Field

from serve.api.http.callers import UserId
from serve.api.http.drawing import Side
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.models import NoQuery, one_of
from serve.api.library.files import ConversionTurns
from serve.api.library.picture_sources import SourcesOf
from serve.diffusion.canvas import FITS, Size
from serve.diffusion.controls import NONE, PREPROCESSORS
from serve.ensembles.illustrator.adapters import ControlUse
from serve.ensembles.illustrator.pipeline.adapter_bank import control_pixels
from serve.errors import InvalidRequest, rename_fields

router = APIRouter()

PNG = "image/png"
DEFAULT_SIDE_PX = 512
MAX_SIDE_PX = 2048


class ControlPreviewRequest(PictureOriginFields):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,iVBORw0KGgo=", "preprocessor": "canny", "width": 512}]
        }
    )

    preprocessor: Annotated[str, one_of(PREPROCESSORS)] = NONE
    fit: Annotated[str, one_of(FITS), Field(description="how a picture of another shape becomes width x height")] = (
        "crop"
    )
    width: Annotated[Side, Field(le=MAX_SIDE_PX, description="of the drawing")] = DEFAULT_SIDE_PX
    height: Annotated[Side, Field(le=MAX_SIDE_PX, description="of the drawing")] = DEFAULT_SIDE_PX


@router.post(
    "/api/illustrations/controls/preview",
    response_class=Response,
    responses={200: {"description": "A PNG", "content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def control_picture(
    query: Annotated[NoQuery, Query()],
    body: ControlPreviewRequest,
    user_id: UserId,
    sources: SourcesOf,
    turns: ConversionTurns,
) -> Response:
    """The control picture that a ControlNet would follow in a drawing of this size."""
    picture = await sources.picture(body, user_id)
    if picture is None:
        raise InvalidRequest("is required; or one of result_id, reference_id", "image")
    with rename_fields({"image": body.origin() or "image"}):
        use = ControlUse("any", picture, body.preprocessor, fit=body.fit)
    async with turns.slot():
        return Response(await asyncio.to_thread(_png, use, (body.width, body.height)), media_type=PNG)


def _png(use: ControlUse, size: Size) -> bytes:
    file = io.BytesIO()
    Image.fromarray(control_pixels(use, size)).save(file, "PNG", compress_level=1)
    return file.getvalue()
