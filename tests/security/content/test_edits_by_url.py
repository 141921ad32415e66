"""Pictures that OpenAI's `POST /v1/images/edits` takes by URL, from a real host (API_COMPAT 1, F 12)."""

from __future__ import annotations

from typing import Any

import httpx
from illustrator_standin import IllustratorStandIn
from picture_hosts import PNG, Host, picture, settings
from pictures import drawn, encode
from standin import StandIn

from serve.api.app import create_app
from serve.settings import LimitsSettings, Settings


async def edit_error(site_settings: Settings, **body: Any) -> tuple[int, str, str | None]:
    """Status, code and param."""
    transport = httpx.ASGITransport(create_app(StandIn(), site_settings, illustrator=IllustratorStandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        answer = await door.post("/v1/images/edits", json={"prompt": "a hat", **body})
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_picture_urls_are_fetched_and_checked(host: Host) -> None:
    host.answers["/small.png"] = picture(encode(drawn(size=32)))
    here, small = {"image_url": host.url("/a.png")}, {"image_url": host.url("/small.png")}
    site = Settings(fetch=settings())
    assert await edit_error(site, images=[here, small], mask=here) == (400, "unsupported_operation", "images")
    assert [path for path, _ in host.requests] == ["/a.png", "/small.png", "/a.png"]
    assert await edit_error(site, images=[here], mask=small) == (400, "invalid_request", "mask.image_url")
    nothing = {"image_url": host.url("/nothing.png")}
    assert await edit_error(site, images=[here, nothing]) == (400, "invalid_request", "images[1].image_url")


async def test_invalid_parameters_are_refused_before_any_fetch(host: Host) -> None:
    here = {"image_url": host.url("/a.png")}
    site = Settings(fetch=settings())
    for wrong in ({"n": 11}, {"mask": {}}, {"mask": here, "markup": here}, {"size": "x"}):
        assert (await edit_error(site, **{"images": [here], **wrong}))[0] == 400
    assert (await edit_error(Settings(), images=[here]))[
        2
    ] == "images[0].image_url"  # no address of ones own by default
    assert host.requests == []


async def test_fetched_pictures_share_the_body_size_limit(host: Host) -> None:
    """However small the request body with the URLs is."""
    site = Settings(fetch=settings(), limits=LimitsSettings(max_body_bytes=max(1024, 2 * len(PNG))))
    count = site.limits.max_body_bytes // len(PNG)
    here = {"image_url": host.url("/a.png")}
    assert await edit_error(site, images=[here] * count) == (400, "unsupported_operation", "images")
    assert await edit_error(site, images=[here] * (count + 1)) == (413, "too_large", f"images[{count}].image_url")
