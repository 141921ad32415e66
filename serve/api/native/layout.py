"""`POST /api/illustrations/preview`: where subjects and regions of a drawing would be, before anything is drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.composition import CompositionFields
from serve.api.http.drawing import Side
from serve.diffusion.layout import Placed, to_svg

router = APIRouter()

DEFAULT_SIDE_PX = 512
_EXAMPLE: dict[str, Any] = {
    "subjects": [{"name": "Ada", "prompt": "a girl in red"}, {"name": "Bo", "prompt": "a boy in green"}],
    "relationships": [{"subject": "Ada", "relation": "left of", "object": "Bo"}],
}


class PreviewRequest(CompositionFields):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    width: Side = DEFAULT_SIDE_PX
    height: Side = DEFAULT_SIDE_PX


class PlacedBox(BaseModel):
    name: Annotated[str, Field(description="of the subject, or the beginning of a region's prompt")]
    kind: Literal["subject", "region"]
    left: Annotated[float, Field(description="as a fraction of the picture, like the others", examples=[0.02])]
    top: float
    width: float
    height: float
    layer: Annotated[int, Field(description="0 is the lowest")]


class PreviewResponse(BaseModel):
    width: int
    height: int
    boxes: Annotated[list[PlacedBox], Field(description="from the lowest layer to the highest; masks have none")]
    svg: Annotated[str, Field(description="the boxes with their names")]


@router.post(
    "/api/illustrations/preview", response_model=PreviewResponse, response_description="The boxes, and their drawing"
)
async def preview(body: PreviewRequest) -> Any:
    """The layout of subjects by their relationships. A box that is sent back with its subject is kept."""
    subjects = body.layout()
    body.check_number()
    regions = [
        Placed(region.prompt[:64], box, len(subjects) + i)
        for i, region in enumerate(body.regions or ())
        if (box := body.region_box(i)) is not None
    ]
    placed = [*subjects, *regions]
    boxes = [
        {
            "name": one.name,
            "kind": "subject" if i < len(subjects) else "region",
            **{side: round(value, 4) for side, value in vars(one.box).items()},
            "layer": one.layer,
        }
        for i, one in enumerate(placed)
    ]
    return {"width": body.width, "height": body.height, "boxes": boxes, "svg": to_svg(placed, body.width, body.height)}
