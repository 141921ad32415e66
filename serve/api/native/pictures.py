"""`POST /api/pictures/finish`: a picture enlarged, with its faces restored, without its background."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serve.api.http.callers import CACHE_HEADER, CallerOf, DrawsDirectly, urls_of
from serve.api.http.drawing import answer_metadata, with_answer_headers
from serve.api.http.finishing import FinishRequest
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.picture_sources import SourcesOf
from serve.api.native.conversion import SiteSettings
from serve.api.native.diffusion import DiffusionResponse

router = APIRouter(route_class=PictureRoute)


@router.post(
    "/api/pictures/finish",
    response_model=DiffusionResponse,
    response_description="The finished picture",
    responses={200: {"headers": CACHE_HEADER}, 501: {}},
    openapi_extra=with_form(FinishRequest, files=("image",)),
)
async def finish(
    body: FinishRequest, caller: CallerOf, direct: DrawsDirectly, settings: SiteSettings, sources: SourcesOf
) -> Response:
    """A picture enlarged, with its faces restored, without its background: without drawing it anew."""
    image = await sources.picture(body, caller.user_id)
    answer = await direct.draw(body.request(image, settings.pictures.embed_metadata), caller)
    urls = urls_of(answer, settings)
    content = {
        "success": True,
        "image_url": urls[0],
        "images": [{"image_url": urls[0], "seed": None}],
        "generation_id": answer.generation_id,
        "metadata": answer_metadata(answer),
    }
    return with_answer_headers(render(content, 200, None), answer)
