"""Results over HTTP: the file, ranges, conditional requests, conversions, thumbnails, metadata (A-115, C-140)."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import infotext, record
from illustrator_standin import IllustratorStandIn
from pictures import drawn, encode
from PIL import Image
from standin import StandIn
from stateful_door import Door, opened

from serve.api.http.headers import disposition
from serve.api.library import renditions
from serve.api.library.files import CACHED, slug
from serve.ensembles.illustrator.encoding import Encoding, encode_all
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import File
from serve.errors import BadImage, DeadlineExceeded
from serve.observability.metrics.processes import children, is_zombie
from serve.security.limits.admission_queue import AdmissionQueue
from serve.state.gallery import get_result
from serve.state.objects.objects import PIECE_BYTES

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20" width="40" height="20">' + (
    b'<rect width="40" height="20" fill="#00f"/><circle cx="10" cy="10" r="8" fill="#f00"/></svg>'
)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path) as door:
        yield door


async def picture(kind: str = "png", prompt: str = "red apple, flat") -> File:
    """A picture of a stand-in, with metadata."""
    illustration = await IllustratorStandIn().draw(IllustrateOptions(prompt, seed=7, width=128, height=64))
    encoding = Encoding(kind)
    (data,) = await encode_all(illustration, encoding, StandIn())
    return File(data, encoding.media_type, 128, 64, 7)


def drawing(svg: bytes = SVG) -> File:
    return File(svg, "image/svg+xml", 40, 20, None)


def image_in(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_result_is_the_stored_object(door: Door) -> None:
    file = await picture()
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}")
    assert answer.status_code == 200
    assert answer.content == file.data
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{(await get_result(door.state.database, name)).object[:64]}"'
    assert answer.headers["cache-control"] == CACHED == "private, max-age=31536000, immutable"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(file.data))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'inline; filename="red-apple-flat-7.png"'


async def test_head_returns_the_same_headers_without_body(door: Door) -> None:
    (name,) = await door.draw(await picture())
    for query in ({}, {"download": "1"}):
        whole = await door.client.get(f"/v1/results/{name}", params=query)
        head = await door.client.head(f"/v1/results/{name}", params=query)
        assert head.content == b""
        own = ("x-request-id",)
        assert {n: v for n, v in head.headers.items() if n not in own} == {
            n: v for n, v in whole.headers.items() if n not in own
        }


@pytest.mark.parametrize(
    ("requested", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, None),
        ("bytes=-10", -10, None),
        ("bytes=5-5", 5, 6),
        ("Bytes=0-99999999", 0, None),
        ("bytes=-99999999", 0, None),
    ],
)
async def test_range_returns_that_part(door: Door, requested: str, start: int, end: int | None) -> None:
    file = await picture()
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}", headers={"Range": requested})
    part, size = file.data[start:end], len(file.data)
    first = start % size
    assert answer.status_code == 206
    assert answer.content == part
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize(
    "requested", ["bytes=0-1,3-4", "bytes=9-5", "lines=0-1", "bytes=", "bytes=a-b", "bytes=٣-٤", ""]
)
async def test_unsupported_range_returns_the_whole(door: Door, requested: str) -> None:
    file = await picture()
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}", headers={"Range": requested.encode()})
    assert (answer.status_code, answer.content) == (200, file.data)


@pytest.mark.parametrize("requested", ["bytes=99999999-", "bytes=-0", "bytes=9999999999999999999-"])
async def test_range_past_the_end_returns_416(door: Door, requested: str) -> None:
    file = await picture()
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}", headers={"Range": requested})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(file.data)}"
    assert answer.json()["type"] == "urn:atelier:problem:unsatisfiable-range"


async def test_matching_etag_returns_304(door: Door) -> None:
    (name,) = await door.draw(await picture())
    tag = (await door.client.get(f"/v1/results/{name}")).headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = await door.client.get(f"/v1/results/{name}", headers={"If-None-Match": known, "Range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == CACHED
    for other in ('"other"', tag.strip('"')):
        assert (await door.client.get(f"/v1/results/{name}", headers={"If-None-Match": other})).status_code == 200


async def test_range_with_an_old_etag_returns_the_whole(door: Door) -> None:
    (name,) = await door.draw(await picture())
    tag = (await door.client.get(f"/v1/results/{name}")).headers["etag"]
    for condition, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)):
        headers = {"Range": "bytes=0-1", "If-Range": condition}
        assert (await door.client.get(f"/v1/results/{name}", headers=headers)).status_code == status


async def test_large_result_is_streamed_in_chunks(door: Door) -> None:
    data = os.urandom(2 * PIECE_BYTES + 17)
    (name,) = await door.draw(File(data, "image/png", 1, 1, 7))
    answer = await door.client.get(f"/v1/results/{name}")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    part = await door.client.get(f"/v1/results/{name}", headers={"Range": f"bytes=5-{PIECE_BYTES + 50}"})
    assert part.content == data[5 : PIECE_BYTES + 51]


async def test_svg_cannot_run_scripts(door: Door) -> None:
    (name,) = await door.draw(drawing())
    answer = await door.client.get(f"/v1/results/{name}")
    assert answer.content == SVG
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == f'inline; filename="red-apple-flat-{name[:8]}.svg"'


async def test_svg_is_compressed_and_its_ranges_are_not(door: Door) -> None:
    """A weak ETag keeps a client from combining ranges of the compressed and the plain body."""
    svg = SVG.replace(b"</svg>", b'<path d="M0 0L1 1"/>' * 200 + b"</svg>")
    (name,) = await door.draw(drawing(svg))
    zipped = await door.client.get(f"/v1/results/{name}", headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.content == svg
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=0-9"}
    part = await door.client.get(f"/v1/results/{name}", headers=headers)
    assert (part.status_code, part.content) == (206, svg[:10])
    assert "content-encoding" not in part.headers
    again = await door.client.get(f"/v1/results/{name}", headers={**headers, "If-Range": zipped.headers["etag"]})
    assert again.status_code == 200
    plain = await door.client.get(f"/v1/results/{name}", headers={"Accept-Encoding": "identity"})
    assert f"W/{plain.headers['etag']}" == zipped.headers["etag"]


@pytest.mark.parametrize(
    ("prompt", "header"),
    [
        ("a/../b\\c: \"d\"\r\nX: y", 'attachment; filename="a-b-c-d-X-y-7.png"'),
        ("Füchse", "attachment; filename=\"Fuchse-7.png\"; filename*=UTF-8''F%C3%BCchse-7.png"),
        ("狐", "attachment; filename=\"picture-7.png\"; filename*=UTF-8''%E7%8B%90-7.png"),
        ("...", 'attachment; filename="image-7.png"'),
        ("word " * 60, f'attachment; filename="{("word-" * 12)[:-1]}-7.png"'),
    ],
)  # fmt: skip
async def test_downloads_have_a_file_name(door: Door, prompt: str, header: str) -> None:
    (name,) = await door.draw(await picture(), prompt=prompt)
    answer = await door.client.get(f"/v1/results/{name}?download=1")
    assert answer.headers["content-disposition"] == header


def test_file_names_are_safe() -> None:
    assert slug("\x00\u202egnp.exe") == "gnp-exe"
    assert (
        disposition("inline", "\N{CROSS MARK}.png")
        == "inline; filename=\"picture.png\"; filename*=UTF-8''%E2%9D%8C.png"
    )


@pytest.mark.parametrize("target", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("source", ["png", "jpeg", "webp"])
async def test_an_export_has_the_same_pixels_and_metadata(door: Door, source: str, target: str) -> None:
    file = await picture(source, "a fox in Füssen")
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}", params={"format": target, "download": "true"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{target}"
    assert answer.headers["cache-control"] == CACHED
    extension = {"jpeg": "jpg"}.get(target, target)
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="red-apple-flat-7.{extension}"')
    before, after = image_in(file.data), image_in(answer.content)
    assert after.format == target.upper()
    np.testing.assert_allclose(np.asarray(after.convert("RGB"), int), np.asarray(before.convert("RGB"), int), atol=90)
    assert infotext(after) == infotext(before) is not None
    assert record(after) == record(before) is not None
    assert (answer.content == file.data) == (source == target)
    again = await door.client.get(
        f"/v1/results/{name}", params={"format": target}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304


async def test_quality_changes_size_and_etag(door: Door) -> None:
    (name,) = await door.draw(File(encode(drawn("RGB", 256)), "image/png", 256, 256, 7))
    answers = [
        await door.client.get(f"/v1/results/{name}", params={"format": "webp", "quality": quality})
        for quality in (1, 50, 100)
    ]
    sizes = [len(answer.content) for answer in answers]
    assert sizes == sorted(sizes)
    assert len({answer.headers["etag"] for answer in answers}) == 3
    assert all(answer.headers["etag"].startswith("W/") for answer in answers)
    (jpeg,) = await door.draw(await picture("jpeg"))
    smaller = await door.client.get(f"/v1/results/{jpeg}", params={"quality": 5})
    assert len(smaller.content) < len((await picture("jpeg")).data)


async def test_transparency_becomes_white_in_jpeg(door: Door) -> None:
    (name,) = await door.draw(File(encode(drawn()), "image/png", 64, 64, 7))
    jpeg = image_in((await door.client.get(f"/v1/results/{name}?format=jpeg")).content)
    assert min(jpeg.getpixel((0, 0))) > 240
    webp = image_in((await door.client.get(f"/v1/results/{name}?format=webp")).content)
    assert webp.getpixel((0, 0))[3] == 0


async def test_raster_result_is_converted_to_svg(door: Door) -> None:
    (name,) = await door.draw(await picture())
    answer = await door.client.get(f"/v1/results/{name}?format=svg")
    assert answer.content.startswith(b"<svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("query", "size"), [({}, (40, 20)), ({"width": "80"}, (80, 40)), ({"width": "4096"}, (4096, 2048))]
)
@pytest.mark.parametrize("target", ["png", "jpeg", "webp"])
async def test_svg_result_is_rendered(door: Door, target: str, query: dict[str, str], size: tuple[int, int]) -> None:
    (name,) = await door.draw(drawing())
    answer = await door.client.get(f"/v1/results/{name}", params={"format": target, **query})
    image = image_in(answer.content)
    assert (image.format, image.size) == (target.upper(), size)
    red, green, blue = image.convert("RGB").getpixel((size[0] // 4, size[1] // 2))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize(
    ("target", "media_type", "start"),
    [
        ("svgz", "application/gzip", b"\x1f\x8b"),
        ("pdf", "application/pdf", b"%PDF-"),
        ("eps", "application/postscript", b"%!PS-Adobe"),
        ("dxf", "image/vnd.dxf", b"  0\nSECTION"),
    ],
)
@pytest.mark.parametrize("of", ["drawing", "picture"])
async def test_result_as_a_vector_format(door: Door, of: str, target: str, media_type: str, start: bytes) -> None:
    """C-140, a picture through the Vectorizer."""
    (name,) = await door.draw(drawing() if of == "drawing" else await picture())
    answer = await door.client.get(f"/v1/results/{name}", params={"format": target, "download": "true"})
    assert answer.status_code == 200, answer.text
    assert answer.content.replace(b"\r\n", b"\n").startswith(start)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"].endswith(f'.{target}"')


async def test_drawing_is_rendered_at_a_scale(door: Door) -> None:
    (name,) = await door.draw(drawing())
    answer = await door.client.get(f"/v1/results/{name}", params={"format": "png", "scale": "2.5"})
    assert image_in(answer.content).size == (100, 50)


@pytest.mark.parametrize(
    ("kind", "query", "field"),
    [
        ("png", {"format": "jpeg", "scale": "2"}, "scale"),
        ("svg", {"format": "svgz", "scale": "2"}, "scale"),
        ("svg", {"format": "png", "scale": "2", "width": "8"}, "scale"),
        ("tall", {"format": "png", "scale": "11"}, "scale"),
        ("svg", {"format": "pdf", "width": "80"}, "width"),
        ("png", {"format": "gif"}, "format"),
        ("png", {"quality": "101"}, "quality"),
        ("png", {"width": "10"}, "width"),
        ("svg", {"width": "10"}, "width"),
        ("svg", {"format": "png", "width": "4097"}, "width"),
        ("svg", {"format": "png", "width": "0"}, "width"),
        ("tall", {"format": "png", "width": "4096"}, "width"),
        ("png", {"download": "maybe"}, "download"),
        ("png", {"fromat": "png"}, "fromat"),
    ],
)
async def test_invalid_conversion_queries_are_refused(door: Door, kind: str, query: dict[str, str], field: str) -> None:
    tall = drawing(SVG.replace(b'viewBox="0 0 40 20" width="40" height="20"', b'viewBox="0 0 20 400"'))
    file = {"png": await picture(), "svg": drawing(), "tall": tall}[kind]
    (name,) = await door.draw(file)
    answer = await door.client.get(f"/v1/results/{name}", params=query)
    assert answer.status_code == 400
    assert field in answer.text


async def test_svg_with_external_references_is_not_rendered(door: Door) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><image href="/etc/hostname"/></svg>'
    (name,) = await door.draw(drawing(svg))
    for path in ("?format=png", "/thumbnail"):
        assert (await door.client.get(f"/v1/results/{name}{path}")).status_code == 422


async def test_rendering_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renditions, "_RENDER_TIMEOUT_S", 0.001)
    with pytest.raises(DeadlineExceeded):
        await renditions.render(SVG, 4096, 2048)
    with pytest.raises(BadImage):
        await renditions.convert(b"<svg/>", "image/svg+xml", Encoding())


async def test_cancellation_ends_the_render_process() -> None:
    shapes = b'<circle cx="20" cy="10" r="9" fill="#0f0" opacity="0.5"/>' * 2000
    rendering = asyncio.create_task(renditions.render(SVG.replace(b"</svg>", shapes + b"</svg>"), 4096, 2048))
    while not (processes := _renderers()) and not rendering.done():  # noqa: ASYNC110 (another process)
        await asyncio.sleep(0.005)
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering
    assert not processes & _renderers()


async def test_cancellation_at_any_moment_leaves_no_render_process() -> None:
    shapes = b'<circle cx="20" cy="10" r="9" fill="#0f0" opacity="0.5"/>' * 2000
    for moment in range(12):
        rendering = asyncio.create_task(renditions.render(SVG.replace(b"</svg>", shapes + b"</svg>"), 2048, 1024))
        await asyncio.sleep(0.02 * moment)
        rendering.cancel()
        await asyncio.wait({rendering})  # on a busy machine it may have ended before
    assert not _renderers()


def _renderers() -> set[int]:
    running = [pid for pid in children(os.getpid()) if not is_zombie(pid)]
    return {pid for pid in running if b"serve.vector.svg" in Path(f"/proc/{pid}/cmdline").read_bytes()}


async def test_rendering_does_not_block_the_event_loop() -> None:
    """resvg holds the GIL."""
    shapes = b'<circle cx="20" cy="10" r="9" fill="#0f0" opacity="0.5"/>' * 40
    rendering = asyncio.create_task(renditions.render(SVG.replace(b"</svg>", shapes + b"</svg>"), 2048, 1024))
    turns = 0
    while not rendering.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert len(await rendering) > 1000
    assert turns > 10


@pytest.mark.parametrize(("size", "side"), [(None, 256), (64, 64), (65, 128), (300, 512), (1024, 700)])
async def test_thumbnails_are_small_webp(door: Door, size: int | None, side: int) -> None:
    (name,) = await door.draw(File(encode(drawn("RGB", 700)), "image/png", 700, 700, 7))
    query = {} if size is None else {"size": size}
    answer = await door.client.get(f"/v1/results/{name}/thumbnail", params=query)
    image = image_in(answer.content)
    assert (image.format, image.size) == ("WEBP", (side, side))
    assert answer.headers["cache-control"] == CACHED
    known = {"If-None-Match": answer.headers["etag"]}
    assert (await door.client.get(f"/v1/results/{name}/thumbnail", params=query, headers=known)).status_code == 304


@pytest.mark.parametrize("size", ["63", "1025", "x"])
async def test_thumbnail_size_is_bounded(door: Door, size: str) -> None:
    (name,) = await door.draw(await picture())
    assert (await door.client.get(f"/v1/results/{name}/thumbnail", params={"size": size})).status_code == 400


async def test_default_thumbnail_is_made_once(door: Door) -> None:
    (name,) = await door.draw(await picture())
    assert (await get_result(door.state.database, name)).thumbnail is None
    head = await door.client.head(f"/v1/results/{name}/thumbnail")
    assert head.status_code == 200
    assert (await get_result(door.state.database, name)).thumbnail is None, "a HEAD request stores no thumbnail"
    answers = await asyncio.gather(*(door.client.get(f"/v1/results/{name}/thumbnail") for _ in range(4)))
    kept = (await get_result(door.state.database, name)).thumbnail
    assert kept is not None
    assert {answer.content for answer in answers} == {await door.state.objects.get(kept)}
    object_of_it = (await get_result(door.state.database, name)).object
    (door.state.settings.state_dir / "objects" / object_of_it[:2] / object_of_it).unlink()
    assert (await door.client.get(f"/v1/results/{name}/thumbnail")).content == answers[0].content
    assert (await door.client.get(f"/v1/results/{name}/thumbnail?size=64")).status_code == 404


async def test_svg_results_have_thumbnails(door: Door) -> None:
    (name,) = await door.draw(drawing())
    image = image_in((await door.client.get(f"/v1/results/{name}/thumbnail")).content)
    assert image.size == (256, 128)
    (blank,) = await door.draw(drawing(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"></svg>'))
    assert (await door.client.get(f"/v1/results/{blank}/thumbnail")).status_code == 200


async def test_metadata_has_parameters_and_no_owner(door: Door) -> None:
    (name,) = await door.draw(await picture(), user_id="somebody-secret")
    answer = await door.client.get(f"/v1/results/{name}/metadata")
    body = answer.json()
    assert (body["id"], body["seed"], body["width"], body["media_type"]) == (name, 7, 128, "image/png")
    assert body["url"].endswith(f"/v1/results/{name}")
    assert body["generation"]["prompt"] == "red apple, flat"
    assert body["generation"]["details"] == {"timings_s": {"draw": 0.5}}
    assert body["generation"]["completed_at"] is not None
    assert "somebody-secret" not in answer.text


@pytest.mark.parametrize("path", ["", "/thumbnail", "/metadata"])
@pytest.mark.parametrize("name", ["none", "%00", "..%2f..%2fetc", "0" * 5000])
async def test_unknown_result_returns_404(door: Door, name: str, path: str) -> None:
    assert (await door.client.get(f"/v1/results/{name}{path}")).status_code == 404


async def test_unavailable_object_store_returns_503_until_it_is_back(door: Door) -> None:
    (name,) = await door.draw(await picture())
    folder = door.state.settings.state_dir / "objects"
    away = shutil.move(folder, folder.with_name("away"))
    for path in ("", "?format=webp", "/thumbnail"):
        answer = await door.client.get(f"/v1/results/{name}{path}")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
    shutil.move(away, folder)
    for path in ("", "?format=webp", "/thumbnail"):
        assert (await door.client.get(f"/v1/results/{name}{path}")).status_code == 200


async def test_conversions_are_bounded(door: Door) -> None:
    (name,) = await door.draw(await picture())
    turns = door.app.state.conversions = AdmissionQueue(max_concurrency=1, max_queued=0)
    async with turns.slot():
        for path in ("?format=webp", "/thumbnail"):
            assert (await door.client.get(f"/v1/results/{name}{path}")).status_code == 503
        assert (await door.client.get(f"/v1/results/{name}")).status_code == 200
    assert (await door.client.get(f"/v1/results/{name}/thumbnail")).status_code == 200


async def test_missing_state_returns_503(door: Door) -> None:
    door.app.state.state = None
    answer = await door.client.get("/v1/results/x")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
