"""The kinds of answer of a conversion: JSON, the SVG, or the drawing in another format (A-115, C-140)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from serve.api.http import headers
from serve.api.http.models import Number, RequestModel, validate
from serve.api.library.renditions import export, of_scale, render
from serve.errors import InvalidRequest
from serve.security.limits.admission_queue import AdmissionQueue
from serve.vector.exports.formats import EXPORTS, MAX_SCALE, MIN_SCALE, SCALED

JSON = "json"
Format = Literal["json", "svg", "svgz", "pdf", "eps", "dxf", "png"]
OUTPUTS: dict[str, str] = {JSON: "application/json", "svg": "image/svg+xml", **EXPORTS, "png": "image/png"}
_FORMAT_OF = {media_type: name for name, media_type in OUTPUTS.items()}
Scale = Annotated[Number, Field(ge=MIN_SCALE, le=MAX_SCALE)]


class OutputQuery(RequestModel):
    format: Annotated[
        Format | None,
        Field(description="The kind of answer; without it the Accept header decides, and JSON is the default."),
    ] = None
    scale: Annotated[
        Scale | None,
        Field(description="Of png, pdf, eps and dxf: the size over that of the SVG, whose pixels are 1/96 inch."),
    ] = None


class Output(BaseModel):
    """The kind of answer that a request asks for. ``format`` is a key of OUTPUTS."""

    format: str
    scale: float = 1.0


async def output_of(query: Annotated[OutputQuery, Query()], request: Request) -> Output:
    return _output(query, request)


def requested_output(request: Request) -> Output:
    """`output_of` without FastAPI."""
    return _output(validate(OutputQuery, dict(request.query_params)), request)


def _output(query: OutputQuery, request: Request) -> Output:
    name = query.format or _accepted(request.headers.get("accept", ""))
    if query.scale is None:
        return Output(format=name)
    check_scaled(name)
    return Output(format=name, scale=query.scale)


def check_scaled(name: str) -> None:
    """Raises InvalidRequest where a drawing in that format has no scale."""
    if name not in (*SCALED, "png"):
        raise InvalidRequest("is for png, pdf, eps and dxf", "scale")


def _accepted(accept: str) -> str:
    """The first of the media types in the header that there is."""
    types = (part.partition(";")[0].strip().lower() for part in accept.split(",")[:32])
    return next((_FORMAT_OF[one] for one in types if one in _FORMAT_OF), JSON)


AsOutput = Annotated[Output, Depends(output_of)]


async def drawing_response(svg: bytes, output: Output, turns: AdmissionQueue) -> Response:
    """``svg`` as ``output``, which is not JSON."""
    if output.format == "svg":
        return Response(svg, 200, headers.SVG, OUTPUTS["svg"])
    async with turns.slot():
        data = await exported(svg, output.format, output.scale)
    return Response(data, 200, None, OUTPUTS[output.format])


async def exported(svg: bytes, name: str, scale: float) -> bytes:
    """``svg`` as svgz, pdf, eps, dxf or png. Raises InvalidRequest, BadImage, DeadlineExceeded."""
    if name == "png":
        return await render(svg, *of_scale(svg, scale))
    return await export(svg, name, scale)


def answer_contents(svg: str) -> dict[str, Any]:
    """The contents of an answer by media type, for the OpenAPI document; ``svg`` is an example."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        OUTPUTS["svg"]: {"schema": {"type": "string"}, "example": svg},
        **{media_type: binary for name, media_type in OUTPUTS.items() if name not in (JSON, "svg")},
    }
