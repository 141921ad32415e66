"""From the fields of style transfer to a request: the site's styles, and pictures that are sent or stored."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request

from serve.api.http.input_pictures import input_picture, limits_of
from serve.api.library.picture_sources import PictureSources
from serve.api.restyling.fields import StyleSource, TransferRequest
from serve.api.restyling.styles import style_named, styles_of
from serve.ensembles.illustrator.encoding import TRANSPARENT, Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.requests import IllustrateRequest
from serve.ensembles.restyler.restyle import Restyle, StyleUse
from serve.errors import InvalidRequest, rename_fields
from serve.settings import Settings


async def restyling_request(body: TransferRequest, request: Request, user_id: str) -> IllustrateRequest:
    """Raises InvalidRequest naming the field as the client does, and the errors of `PictureSources.of`."""
    settings: Settings = request.app.state.settings
    chosen = body.sources()  # what is wrong with a field costs no fetch
    finish = body.finish()
    if finish.remove_background and body.output_format == "jpeg":
        raise InvalidRequest("has no transparency; use png or webp", "output_format")
    for i, one in enumerate(chosen):
        with rename_fields({name: _at(body, i, name) for name in one.origins}):
            one.origin()  # which raises for two
        if one.name is not None:
            style_named(styles_of(request), one.name, _at(body, i, "name"))
    sources = PictureSources(request)
    image = await sources.picture(body, user_id)
    if image is None:
        raise InvalidRequest("is required: the picture to paint", "image")
    uses = []
    for i, one in enumerate(chosen):
        use = await _use(body, i, one, sources, request, user_id)
        region = None if one.mask is None else await sources.mask(one.mask, _at(body, i, "mask"), image)
        uses.append(replace(use, mask=region))
    mask = None if body.mask is None else await sources.mask(body.mask, "mask", image)
    single = {"styles[0].image": body.field_of(0)} if body.styles is None else {}
    with rename_fields(single):
        restyle = Restyle(tuple(uses), body.strength, body.preserve_colors, mask, body.iterations)
    options = IllustrateOptions(
        "", seed=body.seed, source=PictureSource(image), restyle=restyle, finish=finish, draws=False
    )
    embedded = settings.pictures.embed_metadata if body.metadata is None else body.metadata
    # What was transparent stays so.
    encoding = Encoding(body.output_format, body.output_compression, embedded, mark=False, background=TRANSPARENT)
    return IllustrateRequest(options, encoding)


async def _use(
    body: TransferRequest, index: int, one: StyleSource, sources: PictureSources, request: Request, user_id: str
) -> StyleUse:
    if one.name is not None:
        field = _at(body, index, "name")
        style = style_named(styles_of(request), one.name, field)
        limits = limits_of(request.app.state.settings)
        return StyleUse(await input_picture(style.data, field, limits), one.weight, style.entry.name)
    with rename_fields({name: _at(body, index, name) for name in ("image", "result_id", "reference_id")}):
        picture: InputPicture | None = await sources.picture(one, user_id)
        if picture is None:
            raise InvalidRequest("needs a name or an image", body.field_of(index))
    return StyleUse(picture, one.weight)


def _at(body: TransferRequest, index: int, name: str) -> str:
    return f"{body.field_of(index)}.{name}" if body.styles is not None else body.field_of(index)
