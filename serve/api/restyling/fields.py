"""The fields of style transfer, which its route and its jobs have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, FailFast, Field

from serve.api.http.finishing import FinishRequest
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.models import FORM_LIST, Flag, Number, Text, Whole
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.restyler.restyle import MAX_ITERATIONS, MAX_STYLES, MAX_WEIGHT
from serve.errors import InvalidRequest

StyleName = Annotated[Text, Field(min_length=1, max_length=64, description="one of GET /api/style-transfer/styles")]


class StyleSource(PictureOriginFields):
    """One style of a mixture: a name, or a picture."""

    name: StyleName | None = None
    weight: Annotated[
        Number,
        Field(
            ge=0,
            le=MAX_WEIGHT,
            description="its share is this of the sum of all without a mask; with one, how much it covers, 1 at most",
        ),
    ] = 1.0
    mask: Annotated[
        Text | None,
        Field(description="as image, and of its size: this style alone is painted where it is white"),
    ] = None

    origins: ClassVar = ("name", "image", "result_id", "reference_id")


def _named(value: object) -> object:
    """Names in a list as objects."""
    return [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


class TransferRequest(FinishRequest):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,iVBORw0KGgo=", "style": "swirls", "strength": 0.8}]
        }
    )

    style: StyleName | None = None
    style_image: Annotated[
        Text | None, Field(description="a picture whose style is taken, in place of style: a data: or https: URL")
    ] = None
    styles: Annotated[
        list[StyleSource] | None,
        FailFast(),
        Field(max_length=MAX_STYLES, description="several, with weights, in place of style"),
        BeforeValidator(_named),
        FORM_LIST,
    ] = None
    strength: Annotated[Number, Field(ge=0, le=1, description="0 leaves the picture as it is")] = 1.0
    preserve_colors: Annotated[Flag, Field(description="whether the picture's colours stay; else the style's")] = False
    mask: Annotated[
        Text | None, Field(description="as image, and of its size: what is white is painted, what is black stays")
    ] = None
    iterations: Annotated[
        Whole,
        Field(
            ge=0,
            le=MAX_ITERATIONS,
            description="steps of an optimisation with the features of a VGG (slow; 100 show the style); 0: one pass",
        ),
    ] = 0
    seed: Annotated[Whole, Field(ge=0, le=MAX_SEED, description="where the strokes fall")] = 0

    def sources(self) -> list[StyleSource]:
        """Raises InvalidRequest where there is no style, or more than one field names some."""
        named = [name for name in ("style", "style_image", "styles") if getattr(self, name) is not None]
        if not named:
            raise InvalidRequest("is required: a name, or send style_image, or styles", "style")
        if len(named) > 1:
            raise InvalidRequest(f"says the same as {named[0]}; send one of them", named[1])
        if self.styles is not None:
            return self.styles
        return [StyleSource(name=self.style) if self.style is not None else StyleSource(image=self.style_image)]

    def field_of(self, index: int) -> str:
        """The client's name of the style at ``index``."""
        return f"styles[{index}]" if self.styles is not None else "style" if self.style is not None else "style_image"
