"""Generated pictures carry a machine-readable mark, whatever other metadata they have (USERS_ASK 12)."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from illustrator_standin import IllustratorStandIn
from pictures import drawn as logo
from pictures import encode
from PIL import Image
from standin import StandIn
from stateful_door import Door, opened

from serve.api.library.reference_store import SubjectReferenceManager
from serve.ensembles.illustrator.encoding import Encoding, encode_all, encode_preview
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.provenance import GENERATED, is_marked, mark_png, mark_svg
from serve.ensembles.requests import File, IllustrateRequest, from_json

PIXELS = ["png", "jpeg", "webp"]
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
FIELD = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


async def illustration(**more: object) -> Illustration:
    return await IllustratorStandIn().draw(IllustrateOptions("an apple", seed=7, **more))  # type: ignore[arg-type]


async def file(encoding: Encoding) -> bytes:
    (data,) = await encode_all(await illustration(), encoding, StandIn())
    return data


def source_type(data: bytes) -> str | None:
    """IPTC's field, from the XMP of a picture as Pillow reads it, or from the XML of a drawing."""
    if data.lstrip().startswith(b"<"):
        root = ET.fromstring(data)
    else:
        with Image.open(io.BytesIO(data)) as image:
            if not (packet := image.info.get("xmp")):
                return None
        text = packet.decode() if isinstance(packet, bytes) else packet
        root = ET.fromstring(text.split("?>", 1)[1].rpartition("<?")[0])
    found = next(root.iter(RDF), None)
    return None if found is None else found.get(FIELD)


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("kind", [*PIXELS, "svg"])
async def test_generated_files_are_marked(kind: str, metadata: bool) -> None:
    data = await file(Encoding(kind, metadata=metadata))
    assert source_type(data) == GENERATED
    assert is_marked(data)
    assert (b"apple" in data) == (metadata and kind != "svg")


@pytest.mark.parametrize("kind", [*PIXELS, "svg"])
async def test_mark_can_be_left_out(kind: str) -> None:
    data = await file(Encoding(kind, mark=False))
    assert source_type(data) is None
    assert not is_marked(data)


@pytest.mark.parametrize("kind", PIXELS)
async def test_previews_carry_the_mark(kind: str) -> None:
    pixels = (await illustration()).pictures[0].pixels
    assert source_type(await encode_preview(pixels, (96, 64), Encoding(kind))) == GENERATED


async def test_mark_changes_no_pixel() -> None:
    for kind in ("png", "webp"):
        with_mark, without = [await file(Encoding(kind, mark=mark)) for mark in (True, False)]
        np.testing.assert_array_equal(*(np.asarray(Image.open(io.BytesIO(one))) for one in (with_mark, without)))
    plain = await file(Encoding(mark=False))
    marked = mark_png(plain)
    assert source_type(marked) == GENERATED
    image = Image.open(io.BytesIO(marked))
    image.load()  # checks the checksum of every chunk
    assert image.info["parameters"].startswith("an apple")


def test_svg_mark_is_inside_the_root_element() -> None:
    svg = mark_svg(
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0"/></svg>'
    )
    root = ET.fromstring(svg)
    assert [child.tag.rpartition("}")[2] for child in root] == ["metadata", "path"]


def test_requests_without_new_fields_serialise_as_before() -> None:
    """Waiting jobs, idempotency keys and cached responses are looked up by this text."""
    request = IllustrateRequest(IllustrateOptions("fox", seed=7))
    document = request.to_json()
    assert set(document["encoding"]) == {"format", "quality", "metadata"}
    assert "moderation" not in document["options"]
    for encoding in (Encoding(), Encoding(c2pa=True), Encoding(mark=False)):
        request_with_options = IllustrateRequest(IllustrateOptions("fox", seed=7, moderation="low"), encoding)
        assert from_json(request_with_options.to_json()) == request_with_options


@pytest.mark.parametrize("kind", [*PIXELS, "svg"])
async def test_renditions_of_a_result_are_marked(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path) as door:
        data = await file(Encoding(kind))
        (name,) = await door.draw(File(data, Encoding(kind).media_type, 64, 64, 7))
        for wanted in [*PIXELS, "svg"]:
            answer = await door.client.get(f"/v1/results/{name}", params={"format": wanted})
            assert source_type(answer.content) == GENERATED, wanted
        assert source_type((await door.client.get(f"/v1/results/{name}/thumbnail")).content) == GENERATED


async def test_uploaded_pictures_are_not_marked(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        kept = await SubjectReferenceManager(door.state).store_subject_reference("ada", "cat", encode(logo()))
        assert not is_marked(await door.state.objects.get(kept.object))
        traced = await door.client.post("/api/convert?format=svg", files={"image": encode(logo())})
        assert traced.status_code == 200
        assert not is_marked(traced.content)
        await no_rendition_is_marked(door)


async def no_rendition_is_marked(door: Door) -> None:
    (name,) = await door.draw(File(encode(logo()), "image/png", 64, 64, None))
    for query in ("?format=webp", "?format=svg", "/thumbnail"):
        answer = await door.client.get(f"/v1/results/{name}{query}")
        assert not is_marked(answer.content), query
