"""The open inference protocol over HTTP: stock clients, peculiarities of KServe and Triton, and refused requests."""

from __future__ import annotations

import base64
import gzip
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from pictures import ACCEPTED, REFUSED
from PIL import Image
from standin import Served, StandIn
from tritonclient.utils import InferenceServerException

from serve.errors import Unauthorized

INFER = "/v2/models/vectorize/infer"


def image_input(data: bytes, kind: Any = triton) -> Any:
    tensor = kind.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([data], object))
    return tensor


def json_request(data: bytes, **parameters: Any) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    return {"inputs": [image], "parameters": parameters, "model_name": "kserve adds this"}


@pytest.fixture
def client(served: Served) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(served.http)


def test_stock_client_reads_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("vectorize")
    assert client.is_model_ready("plus_one", "1")
    assert client.get_server_metadata()["name"] == "atelier"
    assert client.get_model_metadata("vectorize")["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    assert client.get_model_config("vectorize")["input"][0]["data_type"] == "TYPE_STRING"
    assert {entry["name"] for entry in client.get_model_repository_index()} == {"vectorize", "plus_one"}
    client.load_model("plus_one")
    for override in ({"config": "{}"}, {"files": {"file:1/model.onnx": b"x"}, "config": "{}"}):
        with pytest.raises(InferenceServerException, match=r"^\[400\].*configuration"):
            client.load_model("plus_one", **override)
    with pytest.raises(InferenceServerException, match="stay loaded"):
        client.unload_model("plus_one")


def test_stock_client_vectorizes_a_file(client: triton.InferenceServerClient, logo: bytes) -> None:
    """Binary request and response, without a Content-Type, with parameters."""
    result = client.infer("vectorize", [image_input(logo)], request_id="7", parameters={"tier": "1"})
    assert result.as_numpy("svg")[0].startswith(b"<svg")
    assert result.as_numpy("tier")[0] == b"1"
    assert result.as_numpy("paths")[0] >= 2
    assert result.as_numpy("actual_quality") is None
    assert json.loads(result.as_numpy("metadata")[0])["tracer"] == "vtracer"
    assert result.get_response()["id"] == "7"
    counted = client.get_inference_statistics("vectorize")["model_stats"][0]
    assert counted["inference_stats"]["success"]["count"] >= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_stock_client_vectorizes_pixels(client: triton.InferenceServerClient, logo: bytes, channels: int) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(logo)))[..., :channels]
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(np.ascontiguousarray(pixels))
    wanted = [triton.InferRequestedOutput(name) for name in ("svg", "actual_quality")]
    result = client.infer("vectorize", [tensor], outputs=wanted)
    assert result.as_numpy("svg")[0].startswith(b"<svg")
    assert result.as_numpy("actual_quality")[0] == np.float32(0.95)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["svg", "actual_quality"]


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_stock_client_compresses(client: triton.InferenceServerClient, logo: bytes, compression: str) -> None:
    result = client.infer(
        "vectorize",
        [image_input(logo)],
        request_compression_algorithm=compression,
        response_compression_algorithm="gzip",
    )
    assert result.as_numpy("svg")[0].startswith(b"<svg")


def test_stock_client_reaches_an_engine(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("x", [2, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((2, 4), np.float32), binary_data=False)
    before = client.get_inference_statistics("plus_one")["model_stats"][0]["inference_count"]
    result = client.infer("plus_one", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=False)])
    np.testing.assert_array_equal(result.as_numpy("y"), np.full((2, 4), 2.0))
    counted = client.get_inference_statistics("plus_one")["model_stats"][0]
    assert counted["inference_count"] == counted["inference_stats"]["queue"]["count"] == before + 1
    assert len(client.get_inference_statistics()["model_stats"]) == 2


async def test_missing_key_error_names_the_header(door: httpx.AsyncClient, service: StandIn) -> None:
    async def unknown() -> None:
        raise Unauthorized("a key is needed")

    service.health = unknown  # type: ignore[assignment]
    answer = await door.get("/v2/models/plus_one/ready")
    assert_refused(answer, 401, "a key is needed")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_health_has_live_and_ready_members(door: httpx.AsyncClient, service: StandIn) -> None:
    """kserve reads `live` from one endpoint and `ready` from the other."""
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert (await door.get(path)).json() == {"live": True, "ready": True}
    service.broken = True
    answer = await door.get("/v2/health/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert (await door.get("/v2/models/plus_one/ready")).status_code == 503
    assert (await door.get("/v2/models/vectorize/ready")).status_code == 200
    index = (await door.post("/v2/repository/index")).json()
    assert index[1] == {"name": "plus_one", "version": "1", "state": "UNAVAILABLE", "reason": "broken"}


async def test_plain_json_in_and_out(door: httpx.AsyncClient, logo: bytes) -> None:
    answer = await door.post(INFER, json=json_request(logo, tier=2, target_quality=0.5, validate=True))
    outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
    assert outputs["svg"].startswith("<svg")
    assert outputs["tier"] == "2"
    assert outputs["actual_quality"] == pytest.approx(0.95)
    answer = await door.post(INFER.replace("/infer", "/versions/1/infer"), json=json_request(logo))
    assert answer.json()["model_version"] == "1"


async def test_generate(door: httpx.AsyncClient, logo: bytes) -> None:
    body = {"image": base64.b64encode(logo).decode(), "tier": "3"}
    answer = (await door.post("/v2/models/vectorize/generate", json=body)).json()
    assert answer["svg"].startswith("<svg")
    assert answer["tier"] == "3"
    stream = (await door.post("/v2/models/vectorize/generate_stream", json=body)).text
    assert json.loads(stream.removeprefix("data: "))["svg"] == answer["svg"]


def assert_refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    for word in words:
        assert word in answer.json()["error"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("kind", REFUSED)
async def test_bad_pictures_are_refused(door: httpx.AsyncClient, kind: str) -> None:
    body = REFUSED[kind]
    head = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]}
    head["inputs"][0]["parameters"] = {"binary_data_size": len(body) + 4}  # type: ignore[assignment]
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    answer = await door.post(INFER, content=text + len(body).to_bytes(4, "little") + body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert "image" in answer.json()["error"] or kind == "too_large"


@pytest.mark.parametrize("kind", ACCEPTED)
async def test_unusual_pictures_are_accepted(door: httpx.AsyncClient, kind: str) -> None:
    assert (await door.post(INFER, json=json_request(ACCEPTED[kind]))).status_code == 200


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"datatype": "FP32", "data": [1.0]}, "image"),
        ({"datatype": "UINT8", "data": [1]}, "shape"),
        ({"datatype": "UINT8", "shape": [1, 1, 2], "data": [1, 2]}, "shape"),
        ({"shape": [2]}, "shape"),
        ({"shape": []}, "shape"),
        ({"shape": [1, 1, 1]}, "shape"),
        ({"parameters": {"binary_data_size": 0}}, "`data`"),
        ({"shape": [-1]}, "shape"),
        ({"shape": "1"}, "shape"),
        ({"datatype": "COMPLEX64"}, "datatype"),
        ({"data": "text"}, "data"),
        ({"data": [5]}, "strings"),
        ({"data": ["@@@"]}, "base64"),
        ({"name": "picture"}, "image"),
        ({"name": "x" * 9999}, "name"),
        ({"data": None, "parameters": {"binary_data_size": 10}}, "binary_data_size"),
        ({"parameters": 5}, "parameters"),
    ],
)
async def test_wrong_tensors_are_refused(
    door: httpx.AsyncClient, logo: bytes, change: dict[str, Any], word: str
) -> None:
    body = json_request(logo)
    body["inputs"][0] |= change
    assert_refused(await door.post(INFER, json=body), 400, word)


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"tier": 9}, "tier"),
        ({"target_quality": 2.0}, "target_quality"),
        ({"target_quality": True}, "target_quality"),
        ({"time_budget": -1}, "time_budget"),
        ({"max_paths": "many"}, "max_paths"),
        ({"tieer": 1}, "tieer"),
        ({"timeout": -5}, "timeout"),
        ({"timeout": 1}, "timeout: "),
    ],
)
async def test_wrong_parameters_are_refused(
    door: httpx.AsyncClient, logo: bytes, parameters: dict[str, Any], word: str
) -> None:
    assert_refused(await door.post(INFER, json=json_request(logo, **parameters)), 400, word)


async def test_wrong_requests_are_refused(door: httpx.AsyncClient, logo: bytes) -> None:
    length = "Inference-Header-Content-Length"
    assert_refused(await door.get("/v2/models/nothing"), 404, "nothing")
    assert_refused(await door.post("/v2/models/nothing/infer", json=json_request(logo)), 404)
    assert_refused(await door.get("/v2/models/vectorize/versions/9"), 404, "version")
    assert_refused(await door.post("/v2/repository/models/nothing/load", json={}), 404)
    assert_refused(await door.get("/v2/nothing"), 404)
    assert_refused(await door.get(INFER), 405)
    assert_refused(await door.post(INFER, content=b""), 400, "JSON")
    assert_refused(await door.post(INFER, content=b"[]"), 400, "object")
    assert_refused(await door.post(INFER, json={"inputs": []}), 400, "inputs")
    for twice in (b'{"inputs": [], "inputs": []}', b'{"inputs": [{"name": "a", "name": "image"}]}'):
        assert_refused(await door.post(INFER, content=twice), 400, "twice")
    assert_refused(await door.post(INFER, content=b"{}", headers={length: "99"}), 400, length)
    assert_refused(await door.post(INFER, content=b"{}", headers={length: "-1"}), 400, length)
    bomb = gzip.compress(bytes(20 * 1024 * 1024))
    assert_refused(await door.post(INFER, content=bomb, headers={"content-encoding": "gzip"}), 413)
    body = json_request(logo) | {"outputs": [{"name": "png"}]}
    assert_refused(await door.post(INFER, json=body), 400, "png")
    twice = json_request(logo)
    twice["inputs"] *= 2
    assert_refused(await door.post(INFER, json=twice), 400, "twice")
    wrong = {"inputs": [{"name": "x", "shape": [4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    assert_refused(await door.post("/v2/models/plus_one/infer", json=wrong), 400, "x")
    for extension in ("trace/setting", "logging", "systemsharedmemory/status", "cudasharedmemory/region/a/status"):
        assert_refused(await door.get(f"/v2/{extension}"), 501)
    assert_refused(await door.post("/v2/systemsharedmemory/unregister"), 501)


def test_non_finite_numbers_pass_to_the_engine_and_back(client: triton.InferenceServerClient) -> None:
    """As in Triton itself; JSON cannot carry them."""
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[np.nan, -3e38, -3e38, 1.0]], np.float32))
    found = client.infer("plus_one", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=True)])
    assert np.array_equal(found.as_numpy("y"), np.array([[np.nan, -np.inf, -np.inf, 2.0]], np.float32), equal_nan=True)
    output = triton.InferRequestedOutput("y", binary_data=False)
    with pytest.raises(InferenceServerException, match=r"^\[400\] y: holds numbers that are not finite"):
        client.infer("plus_one", [tensor], outputs=[output])
