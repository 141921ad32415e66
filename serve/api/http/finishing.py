"""The request to finish a picture without drawing it anew, which routes and jobs have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from serve.api.http.drawing import FinishFields
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.models import Flag, Whole, one_of
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, TRANSPARENT, Encoding
from serve.ensembles.illustrator.finishing.finish import Finish
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest


class FinishRequest(FinishFields, PictureOriginFields):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "data:image/png;base64,iVBORw0KGgo=", "upscale": 2}]}
    )

    output_format: Annotated[str, one_of([name for name in MEDIA_TYPES if name != "svg"])] = "png"
    output_compression: Annotated[Whole, Field(ge=0, le=100, description="quality of JPEG and WebP")] = DEFAULT_QUALITY
    metadata: Annotated[Flag | None, Field(description="as of a drawing")] = None

    def request(self, image: InputPicture | None, metadata: bool) -> IllustrateRequest:
        """Raises InvalidRequest where there is no picture, or nothing to do."""
        if image is None:
            raise InvalidRequest("is required: the picture to finish", "image")
        finish = self.finish()
        if not finish:
            raise InvalidRequest("is required, or remove_background, or restore_faces", "upscale")
        if finish.remove_background and self.output_format == "jpeg":
            raise InvalidRequest("has no transparency; use png or webp", "output_format")
        embedded = metadata if self.metadata is None else self.metadata
        # What was transparent stays so: a finished picture has the alpha of the picture that was sent.
        encoding = Encoding(self.output_format, self.output_compression, embedded, mark=False, background=TRANSPARENT)
        return finishing_request(image, finish, encoding)


def finishing_request(image: InputPicture, finish: Finish, encoding: Encoding) -> IllustrateRequest:
    """``image`` is finished without drawing; the same request has the same answer."""
    options = IllustrateOptions("", seed=0, source=PictureSource(image), finish=finish, draws=False)
    return IllustrateRequest(options, encoding)
