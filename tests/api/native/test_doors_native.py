"""The native vocabulary (D-060 to D-062): real forms posted to the real application."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from pictures import ACCEPTED, REFUSED
from PIL import Image
from problem_answers import LEAKS, assert_problem
from standin import StandIn

from serve.api.app import create_app
from serve.api.native.conversion_models import CONVERSION_FIELDS
from serve.api.openapi.operation import inlined
from serve.settings import LimitsSettings, Settings

FORMS = ("/api/convert", "/api/convert-ai", "/api/analyze-image")


async def test_convert_ai_response_matches_d060(door: httpx.AsyncClient, logo: bytes) -> None:
    """D-060, D-054."""
    form = {"tier": "2", "target_quality": "0.95", "validate": "true"}
    answer = await door.post("/api/convert-ai", files={"image": ("a.png", logo)}, data=form)
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["svg_content"].startswith("<svg")
    assert body["processing_time"] > 0
    assert body["model_info"] == {"versions": {"plus_one": "1"}, "inference_engine": "exported_models"}
    metadata = body["ai_metadata"]
    assert metadata["selected_tier"] == "2"
    assert metadata["actual_quality"] == 0.95
    assert {"logo_type", "confidence", "predicted_quality", "parameters_used", "model_versions"} <= metadata.keys()
    assert (metadata["width"], metadata["height"]) == (64, 64)


async def test_convert_is_the_basic_tier(door: httpx.AsyncClient, logo: bytes) -> None:
    """D-061."""
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)})
    assert answer.json()["ai_metadata"]["selected_tier"] == "basic"


@pytest.mark.parametrize("how", [{"params": {"format": "svg"}}, {"headers": {"accept": "image/svg+xml"}}])
async def test_raw_svg_cannot_run_scripts(door: httpx.AsyncClient, logo: bytes, how: dict[str, dict[str, str]]) -> None:
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)}, **how)  # type: ignore[arg-type]
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.text.startswith("<svg")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("how", "media_type", "start"),
    [
        ({"params": {"format": "svgz"}}, "application/gzip", b"\x1f\x8b"),
        ({"params": {"format": "pdf", "scale": "2"}}, "application/pdf", b"%PDF-"),
        ({"params": {"format": "eps"}}, "application/postscript", b"%!PS-Adobe-3.0 EPSF-3.0"),
        ({"params": {"format": "dxf"}}, "image/vnd.dxf", b"  0\nSECTION"),
        ({"params": {"format": "png", "scale": "4"}}, "image/png", b"\x89PNG"),
        ({"headers": {"accept": "application/pdf;q=0.9, application/json"}}, "application/pdf", b"%PDF-"),
    ],
    ids=["svgz", "pdf", "eps", "dxf", "png", "accept"],
)
async def test_a_conversion_in_other_formats(
    door: httpx.AsyncClient, logo: bytes, how: dict[str, dict[str, str]], media_type: str, start: bytes
) -> None:
    """C-140."""
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)}, **how)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert answer.content.replace(b"\r\n", b"\n").startswith(start)
    if media_type == "image/png":
        assert Image.open(io.BytesIO(answer.content)).size == (256, 256)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "ai"}, "format"),
        ({"format": "svg", "scale": "2"}, "scale"),
        ({"scale": "2"}, "scale"),
        ({"format": "png", "scale": "0"}, "scale"),
        ({"format": "png", "scale": "64.5"}, "scale"),
        ({"format": "png", "scale": "64.0"}, ""),
        ({"fromat": "png"}, "fromat"),
    ],
)
async def test_invalid_output_queries_are_refused(
    door: httpx.AsyncClient, logo: bytes, query: dict[str, str], field: str
) -> None:
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)}, params=query)
    if field:
        assert_problem(answer, 400, field)
    else:  # 64 pixels, 64 times as large
        assert Image.open(io.BytesIO(answer.content)).size == (4096, 4096)


async def test_analyze_does_not_convert(door: httpx.AsyncClient, logo: bytes) -> None:
    """D-014, D-061."""
    body = (await door.post("/api/analyze-image", files={"image": ("a.png", logo)})).json()
    assert body["success"] is True
    assert body["features"]["edge_density"] == 0.1
    assert body["processing_method"] == "local_optimized"
    assert "svg_content" not in body


async def test_ai_health_names_each_model(door: httpx.AsyncClient, service: StandIn) -> None:
    """D-061."""
    body = (await door.get("/api/ai-health")).json()
    assert body["status"] == "healthy"
    assert body["models"]["plus_one"]["ready"] is True
    service.broken = True
    assert (await door.get("/api/ai-health")).json()["status"] == "unavailable"


async def test_ready_is_a_real_inference(door: httpx.AsyncClient, service: StandIn) -> None:
    assert (await door.get("/health/live")).status_code == 200
    assert (await door.get("/health/ready")).status_code == 200
    service.broken = True
    answer = await door.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["engines"]["plus_one"]["reason"] == "broken"
    assert (await door.get("/health/live")).status_code == 200


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("kind", REFUSED)
async def test_bad_pictures_are_refused(door: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await door.post(path, files={"image": ("a.png", REFUSED[kind])})
    assert_problem(answer, 413 if kind in ("too_large", "bomb", "very_wide") else None, "image")


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("kind", ACCEPTED)
async def test_unusual_pictures_are_accepted(door: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await door.post(path, files={"image": ("a", ACCEPTED[kind])})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tier", "7"),
        ("tier", "best"),
        ("target_quality", "2.0"),
        ("target_quality", "nan"),
        ("target_quality", "much"),
        ("time_budget", "-1"),
        ("time_budget", "inf"),
        ("max_bytes", "1.5"),
        ("max_paths", "0"),
        ("max_paths", "9" * 5000),
        ("max_paths", "1_0"),
        ("max_paths", "\u0665"),
        ("target_quality", "0.\u0669"),
        ("target_quality", "0_1"),
        ("time_budget", " 5"),
        ("time_budget", "1e"),
        ("validate", "perhaps"),
        ("target_qualty", "0.9"),
    ],
)
async def test_bad_options_are_refused(door: httpx.AsyncClient, logo: bytes, name: str, value: str) -> None:
    answer = await door.post("/api/convert-ai", files={"image": ("a.png", logo)}, data={name: value})
    assert_problem(answer, 400, name)


@pytest.mark.parametrize("path", FORMS)
async def test_invalid_forms_are_refused(door: httpx.AsyncClient, path: str, logo: bytes) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    for content, headers in [
        (b"", {}),
        (b"{}", {"content-type": "application/json"}),
        (b"--x\r\n", form),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n", form),
        (b"garbage", form),
        (b"image=abc", {"content-type": "application/x-www-form-urlencoded"}),
        (logo, {"content-type": "multipart/form-data"}),
        (logo, {"content-type": b"multipart/form-data; boundary=\xff"}),
    ]:
        answer = await door.post(path, content=content, headers=headers)
        assert 400 <= answer.status_code < 500, (content[:40], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = await door.post(path, data={"image": "text, not a file"}, files={"other": b"x"})
    assert_problem(answer, 400, "other")


async def test_a_compressed_form_is_inflated(door: httpx.AsyncClient, logo: bytes) -> None:
    """Unknown content encodings are refused."""
    plain = httpx.Request("POST", "http://a", files={"image": ("a.png", logo)}, data={"max_paths": "1e2"})
    kind = plain.headers["content-type"]
    for encoding, body, status in (
        ("gzip", gzip.compress(plain.read()), 200),
        ("br", plain.read(), 415),
        ("gzip", plain.read(), 400),
        ("gzip", gzip.compress(bytes(20 * 1024 * 1024)), 413),
    ):
        headers = {"content-type": kind, "content-encoding": encoding}
        answer = await door.post("/api/convert", content=body, headers=headers)
        assert answer.status_code == status, answer.text


async def test_a_field_sent_twice_is_refused(door: httpx.AsyncClient, logo: bytes) -> None:
    answer = await door.post("/api/convert", files=[("image", ("a", logo)), ("image", ("b", logo))])
    assert_problem(answer, 400, "image")


async def test_endless_body_is_refused_after_a_bound(door: httpx.AsyncClient) -> None:
    """C-130: a bounded part of the body is read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while True:
            sent += 1024 * 1024
            yield bytes(1024 * 1024)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await door.post("/api/convert", content=endless(), headers=headers)
    assert_problem(answer, 413, None)
    assert sent < 6 * LimitsSettings().max_body_bytes


async def test_stalled_body_times_out(service: StandIn) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.sleep(30)

    settings = Settings(limits=LimitsSettings(body_timeout_s=0.1))
    transport = httpx.ASGITransport(create_app(service, settings), raise_app_exceptions=False)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
        assert_problem(await client.post("/api/convert", content=trickle(), headers=headers), 408, None)


async def test_openapi_document_describes_the_forms(door: httpx.AsyncClient) -> None:
    document = (await door.get("/openapi.json")).json()
    paths = document["paths"]
    form = paths["/api/convert-ai"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    form = inlined(form, document["components"]["schemas"])
    assert set(form["properties"]) == {"image", *CONVERSION_FIELDS}
    refused = paths["/v2/models/{name}/infer"]["post"]["responses"]["400"]
    assert refused == {"$ref": "#/components/responses/OpenInferenceError400"}


@pytest.mark.parametrize("path", FORMS)
async def test_openapi_document_describes_the_responses(door: httpx.AsyncClient, path: str, logo: bytes) -> None:
    document = (await door.get("/openapi.json")).json()
    described, schemas = document["paths"][path]["post"], document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas  # FastAPI's own, which is never sent
    for status in ("400", "422", "500"):
        assert described["responses"][status] == {"$ref": f"#/components/responses/Problem{status}"}
    problem = (await door.post(path)).json()
    assert set(schemas["Problem"]["required"]) <= problem.keys() == schemas["Problem"]["properties"].keys()
    formats = [one for one in described["parameters"] if one.get("name") == "format"]
    if path == "/api/analyze-image":
        assert formats == []
        return
    (parameter,) = formats
    for name in parameter["schema"]["anyOf"][0]["enum"]:
        answer = await door.post(path, params={parameter["name"]: name}, files={"image": ("a", logo)})
        assert answer.headers["content-type"] in described["responses"]["200"]["content"]


async def test_exactly_ten_mebibytes_are_accepted(door: httpx.AsyncClient, logo: bytes) -> None:
    """C-130: the limit is on the file, not on the form around it."""
    padded = logo + bytes(10 * 1024 * 1024 - len(logo))
    assert (await door.post("/api/analyze-image", files={"image": ("a", padded)})).status_code == 200
    answer = await door.post("/api/analyze-image", files={"image": ("a", padded + b"\0")})
    assert_problem(answer, 413, "image")


async def test_unknown_paths_and_methods(door: httpx.AsyncClient) -> None:
    assert_problem(await door.get("/nothing/here"), 404, None)
    assert_problem(await door.get("/api/convert"), 405, None)


async def test_plain_request_ids_are_echoed(door: httpx.AsyncClient) -> None:
    answer = await door.get("/health/live", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    answer = await door.get("/health/live", headers={"x-request-id": "<script>"})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_large_responses_are_compressed(door: httpx.AsyncClient, logo: bytes) -> None:
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)})
    assert answer.headers["content-encoding"] == "gzip"


async def test_unexpected_error_reveals_nothing(door: httpx.AsyncClient, logo: bytes, service: StandIn) -> None:
    service.delay_s = "no number"  # type: ignore[assignment]
    answer = await door.post("/api/convert", files={"image": ("a.png", logo)})
    assert answer.status_code == 500
    assert not LEAKS.search(answer.text)
    assert "number" not in answer.text


async def test_host_header_causes_no_redirect(door: httpx.AsyncClient) -> None:
    answer = await door.get("/health/live/", headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


async def test_health_answers_head_requests(door: httpx.AsyncClient) -> None:
    """Load balancers use HEAD requests."""
    for path in ("/health/live", "/health/ready"):
        answer = await door.head(path)
        assert answer.status_code == 200
        assert answer.content == b""
