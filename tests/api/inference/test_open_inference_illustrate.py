"""The model `illustrate` with stock clients: the real Illustrator on engines that are functions, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from both_doors import both_doors
from numpy.typing import NDArray
from pictures import encode
from PIL import Image
from standin import Served
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from serve.api.inference.codec import InferRequest
from serve.api.inference.grpc_stream import Job, interleaved
from serve.api.inference.illustrate_model import to_outputs
from serve.ensembles.illustrator.illustration import Illustration, Parameters, Picture
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.errors import EngineUnavailable
from serve.settings import GatewaySettings, IllustratorSettings, Settings
from tests.ensembles.drawn_family import engines, write_family
from tests.fakes import FakeEngines

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
INFER = "/v2/models/illustrate/infer"
PLACES = 20


class Slow(FakeEngines):
    """A denoising step takes ``step_s`` seconds; ``most`` is the highest number of concurrent steps."""

    step_s = 0.0
    at_once = most = 0

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        answer = await super().infer(engine, inputs, **options)
        if engine == "toy_unet":
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(self.step_s)
            finally:
                self.at_once -= 1
        return answer

    @property
    def steps(self) -> int:
        return sum(engine == "toy_unet" for engine, _ in self.calls)

    def rest(self) -> int:
        """Number of steps started, read after a period without a new one."""
        before = -1
        while before != self.steps:
            before = self.steps
            time.sleep(0.15 + self.step_s)
        return before


@pytest.fixture(scope="module")
def slow_engines() -> Slow:
    return Slow(engines().answers)


@pytest.fixture(scope="module")
def studio_doors(slow_engines: Slow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    own = IllustratorSettings(model_repository=write_family(tmp_path_factory.mktemp("repository")))
    settings = Settings(illustrator=own, gateway=GatewaySettings(max_ongoing_requests=PLACES, kept_share=0))
    with both_doors(Illustrator(own, engines=slow_engines), settings) as doors:  # type: ignore[arg-type]
        yield doors


@pytest.fixture
def client(studio_doors: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(studio_doors.grpc) as client:
        yield client


@pytest.fixture
def over_http(studio_doors: Served) -> triton_http.InferenceServerClient:
    return triton_http.InferenceServerClient(studio_doors.http)


@pytest.fixture
def slow(slow_engines: Slow) -> Iterator[Slow]:
    slow_engines.step_s = 0.02
    yield slow_engines
    slow_engines.step_s = 0.0
    slow_engines.rest()


TYPES = {"BYTES": object, "INT64": np.int64, "INT32": np.int32, "FP32": np.float32, "UINT8": np.uint8, "BOOL": bool}


def tensor(name: str, values: Any, datatype: str, kind: Any = triton) -> Any:
    array = np.array(values, TYPES[datatype])
    made = kind.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def prompt(text: str | bytes = "red apple", kind: Any = triton) -> Any:
    return tensor("prompt", [text.encode() if isinstance(text, str) else text], "BYTES", kind)


# --- metadata ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_stock_clients_read_health_and_metadata(kind: str, studio_doors: Served, client: Any, over_http: Any) -> None:
    triton_client = client if kind == "grpc" else over_http
    options = {"as_json": True} if kind == "grpc" else {}
    assert triton_client.is_server_ready()
    for model in ("illustrate", "toy_unet", "toy_vae_decoder", "vectorize", "plus_one"):
        assert triton_client.is_model_ready(model), model
    metadata = triton_client.get_model_metadata("illustrate", **options)
    assert {entry["name"]: entry["datatype"] for entry in metadata["inputs"]}["prompt"] == "BYTES"
    assert metadata["outputs"][0]["name"] == "image"
    config = triton_client.get_model_config("illustrate", **options)
    config = config.get("config", config)
    assert config["model_transaction_policy"]["decoupled"] is True
    assert [entry["name"] for entry in config["input"] if not entry.get("optional")] == ["prompt"]
    (family,) = json.loads(config["parameters"]["models"]["string_value"])
    assert (family["name"], family["num_inference_steps"]) == ("toy", 6)
    index = triton_client.get_model_repository_index(**options)
    listed = {entry["name"]: entry["state"] for entry in (index["models"] if kind == "grpc" else index)}
    engines = {"toy_text_encoder", "toy_unet", "toy_vae_decoder", "toy_vae_encoder"}
    assert set(listed) == {"vectorize", "illustrate", "plus_one", *engines}
    assert set(listed.values()) == {"READY"}
    triton_client.load_model("toy_unet")
    with pytest.raises(InferenceServerException, match="no version"):
        triton_client.get_model_metadata("illustrate", "9")


def test_failing_engines_are_reported(
    studio_doors: Served, slow_engines: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site is not ready; models that do not need the failed engine are."""
    monkeypatch.setattr("serve.engines.engine_set.HEALTH_CACHE_S", 0.0)
    monkeypatch.setitem(slow_engines.answers, "toy_unet", EngineUnavailable("gone"))
    address = f"http://{studio_doors.http}"
    assert httpx.get(f"{address}/v2/health/ready").status_code == 503
    response = httpx.get(f"{address}/health/ready")
    assert response.status_code == 503
    assert {name: engine["ready"] for name, engine in response.json()["engines"].items()} == {
        "plus_one": True, "toy_text_encoder": True, "toy_unet": False, "toy_vae_decoder": True,
        "toy_vae_encoder": True,
    }  # fmt: skip
    assert httpx.get(f"{address}/api/ai-health").json()["models_ready"] == 4
    for model, status in (("toy_unet", 503), ("illustrate", 503), ("vectorize", 200), ("plus_one", 200)):
        assert httpx.get(f"{address}/v2/models/{model}/ready").status_code == status, model
    index = {entry["name"]: entry for entry in httpx.post(f"{address}/v2/repository/index").json()}
    assert index["illustrate"]["state"] == index["toy_unet"]["state"] == "UNAVAILABLE"
    assert index["illustrate"]["reason"]


async def test_model_without_an_illustrator_is_unknown(door: httpx.AsyncClient) -> None:
    for path in ("", "/config", "/stats", "/ready"):
        answer = await door.get(f"/v2/models/illustrate{path}")
        assert answer.status_code == 404
        assert "python -m build_engines illustrate" in answer.json()["error"]
    assert (await door.post(INFER, json=json_request("red"))).status_code == 404


def test_engines_are_reached_through_both_protocols(client: triton.InferenceServerClient) -> None:
    latents = triton.InferInput("latents", [1, 3, 8, 8], "FP32")
    latents.set_data_from_numpy(np.zeros((1, 3, 8, 8), np.float32))
    assert client.infer("toy_vae_decoder", [latents]).as_numpy("image").shape == (1, 64, 64, 3)
    assert {entry.name for entry in client.get_inference_statistics().model_stats} >= {"illustrate", "toy_unet"}
    latents = triton.InferInput("latents", [1, 3, 8, 65], "FP32")
    latents.set_data_from_numpy(np.zeros((1, 3, 8, 65), np.float32))
    with pytest.raises(InferenceServerException, match="latents: has 65 on axis 3; model 'toy' takes at most 64"):
        client.infer("toy_vae_decoder", [latents])


# --- unary -------------------------------------------------------------------------------------------------------


def json_request(text: Any, **parameters: Any) -> dict[str, Any]:
    entry = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": [text]}
    return {"inputs": [entry], "parameters": parameters}


def test_tensors_and_parameters_are_equivalent(client: triton.InferenceServerClient, over_http: Any) -> None:
    """HTTP and gRPC, binary and JSON, return the same picture."""
    options = {"seed": 7, "num_inference_steps": 4, "guidance_scale": 2.1, "n": 2, "width": 96, "sampler": "euler"}
    first = client.infer("illustrate", [prompt()], request_id="9", parameters=options)
    assert first.get_response().id == "9"
    pictures = first.as_numpy("image")
    assert (pictures.shape, pictures.dtype) == ((2, 64, 96, 3), np.uint8)
    assert first.as_numpy("seed").tolist() == [7, 8]
    assert (first.as_numpy("tokens")[0], first.as_numpy("evaluations")[0]) == (2, 4)
    made = json.loads(first.as_numpy("parameters")[0])
    assert made["guidance_scale"] == 2.1
    assert made["negative_prompt"] == ""
    assert json.loads(first.as_numpy("metadata")[0])["model_versions"]["toy_unet"] == "7"
    inputs = [
        tensor("seed", [7], "INT64"), tensor("num_inference_steps", [4], "INT32"), tensor("n", [2], "UINT8"),
        tensor("guidance_scale", [2.1], "FP32"), tensor("width", [[96]], "INT64"),
        tensor("sampler", ["euler"], "BYTES"),
    ]  # fmt: skip
    second = client.infer("illustrate", [prompt(), *inputs])
    assert json.loads(second.as_numpy("parameters")[0]) == made
    assert np.array_equal(second.as_numpy("image"), pictures)
    for binary in (True, False):
        wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in ("image", "seed")]
        third = over_http.infer(
            "illustrate", [prompt(kind=triton_http)], outputs=wanted, parameters={**options, "negative_prompt": ""}
        )
        assert np.array_equal(third.as_numpy("image"), pictures)
        assert [output["name"] for output in third.get_response()["outputs"]] == ["image", "seed"]


def test_generate_accepts_plain_members(studio_doors: Served) -> None:
    address = f"http://{studio_doors.http}/v2/models/illustrate"
    body = {
        "prompt": "red apple",
        "seed": 7,
        "num_inference_steps": 4,
        "guidance_scale": 2,
        "parameters": {"width": 32},
    }
    response = httpx.post(f"{address}/generate", json=body).json()
    assert (response["seed"], response["tokens"], len(response["image"])) == (7, 2, 64 * 32 * 3)
    text = httpx.post(f"{address}/generate_stream", json={**body, "preview_every": 2}).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    assert [(event.get("step"), event.get("seed")) for event in events] == [(2, None), (None, 7)]
    assert events[1]["image"] == response["image"]
    refused = httpx.post(f"{address}/generate_stream", json={**body, "sampler": "magic"})
    assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (400, "sampler")
    for wrong in ({"seed": [1]}, {"seed": None}, {"guidance_scale": "high"}, {"prompt": 5}):
        refused = httpx.post(f"{address}/generate", json={**body, **wrong})
        assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (400, next(iter(wrong)))


def test_too_many_pixels_for_json_are_refused(studio_doors: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.api.inference.codec.MAX_JSON_VALUES", 100)
    monkeypatch.setattr("serve.api.inference.http.MAX_JSON_VALUES", 100)
    answer = httpx.post(f"http://{studio_doors.http}{INFER}", json=json_request("red"))
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "image")
    binary = json_request("red", binary_data_output=True)
    assert httpx.post(f"http://{studio_doors.http}{INFER}", json=binary).status_code == 200
    answer = httpx.post(f"http://{studio_doors.http}{INFER.replace('infer', 'generate')}", json={"prompt": "red"})
    assert answer.status_code == 400


def test_more_pictures_than_a_response_holds_are_refused_before_drawing(
    client: triton.InferenceServerClient, slow_engines: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.inference.illustrate_model.MAX_ANSWER_BYTES", 2 * 64 * 64 * 3)
    begun = slow_engines.steps
    for options in ({"n": 3}, {"n": 2, "width": 72}, {"width": 512, "model": "toy"}):
        with pytest.raises(InferenceServerException, match=r"n: .* are more than"):
            client.infer("illustrate", [prompt()], parameters=options)
    assert slow_engines.steps == begun
    assert client.infer("illustrate", [prompt()], parameters={"n": 2}).as_numpy("image").shape[0] == 2


def test_protocol_timeout_ends_the_drawing(client: triton.InferenceServerClient, slow: Slow) -> None:
    with pytest.raises(InferenceServerException, match="not enough time") as caught:
        client.infer("illustrate", [prompt()], parameters={"num_inference_steps": 500}, timeout=200_000)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert slow.rest() == slow.steps


def test_client_timeout_ends_the_drawing(client: triton.InferenceServerClient, slow: Slow) -> None:
    begun = slow.steps
    with pytest.raises(InferenceServerException):
        client.infer("illustrate", [prompt()], parameters={"num_inference_steps": 900}, client_timeout=0.3)
    assert begun < slow.rest() < begun + 40


BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"seed": -2}, "seed"),
    ({"seed": "many"}, "seed"),
    ({"seed": True}, "seed"),
    ({"n": 0}, "n"),
    ({"n": 11}, "n"),
    ({"num_inference_steps": 0}, "num_inference_steps"),
    ({"num_inference_steps": 10_000}, "num_inference_steps"),
    ({"num_inference_steps": 2.5}, "num_inference_steps"),
    ({"guidance_scale": -1.0}, "guidance_scale"),
    ({"guidance_scale": 1e9}, "guidance_scale"),
    ({"guidance_rescale": 2}, "guidance_rescale"),
    ({"width": 0}, "width"),
    ({"width": 10**9}, "width"),
    ({"height": 65}, "height"),
    ({"sampler": "magic"}, "sampler"),
    ({"sampler": 5}, "sampler"),
    ({"model": "sdxl"}, "model"),
    ({"negative_prompt": "(red:99)"}, "negative_prompt"),
    ({"preview_every": -1}, "preview_every"),
    ({"stepz": 5}, "stepz"),
    ({"prompt": "pear"}, "prompt"),
    ({"timeout": -5}, "timeout"),
    ({"timeout": 1}, "timeout"),
]


@pytest.mark.parametrize(("parameters", "field"), BAD_PARAMETERS)
def test_wrong_parameters_name_their_field(
    studio_doors: Served, client: triton.InferenceServerClient, parameters: dict[str, Any], field: str
) -> None:
    answer = httpx.post(f"http://{studio_doors.http}{INFER}", json=json_request("red", **parameters))
    assert answer.status_code in (400, 404)
    assert answer.json()["error"].startswith(f"{field}: ")
    if "timeout" not in parameters:  # from which tritonclient makes its own
        with pytest.raises(InferenceServerException) as caught:
            client.infer("illustrate", [prompt()], parameters=parameters)
        assert str(caught.value.message()).startswith(f"{field}: ")
        assert caught.value.status() in ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")


BAD_TENSORS: list[tuple[list[Any], str]] = [
    ([tensor("prompt", [b""], "BYTES")], "prompt"),
    ([tensor("prompt", [b" "], "BYTES")], "prompt"),
    ([tensor("prompt", [b"\xff\xfe"], "BYTES")], "prompt"),
    ([tensor("prompt", [b"re\0d"], "BYTES")], "prompt"),
    ([tensor("prompt", [b"x" * 100_000], "BYTES")], "prompt"),
    ([tensor("prompt", [b"red apple " * 100], "BYTES")], "prompt"),
    ([tensor("prompt", [b"red", b"pear"], "BYTES")], "prompt"),
    ([tensor("prompt", [], "BYTES")], "prompt"),
    ([tensor("prompt", [5], "INT64")], "prompt"),
    ([tensor("seed", [5], "INT64")], "prompt"),
    ([prompt(), tensor("seed", [1.0], "FP32")], "seed"),
    ([prompt(), tensor("seed", [True], "BOOL")], "seed"),
    ([prompt(), tensor("seed", [b"1"], "BYTES")], "seed"),
    ([prompt(), tensor("seed", [1, 2], "INT64")], "seed"),
    ([prompt(), tensor("seed", [-3], "INT64")], "seed"),
    ([prompt(), tensor("guidance_scale", [np.nan], "FP32")], "guidance_scale"),
    ([prompt(), tensor("guidance_scale", [b"7"], "BYTES")], "guidance_scale"),
    ([prompt(), tensor("num_inference_steps", [0], "INT32")], "num_inference_steps"),
    ([prompt(), tensor("sampler", [7], "INT64")], "sampler"),
    ([prompt(), tensor("image", [7], "INT64")], "image"),
]


@pytest.mark.parametrize(("inputs", "field"), BAD_TENSORS)
def test_wrong_tensors_name_their_field(client: triton.InferenceServerClient, inputs: list[Any], field: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("illustrate", inputs)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert str(caught.value.message()).startswith(f"{field}: ")


def test_unknown_output_is_refused(client: triton.InferenceServerClient, slow_engines: Slow) -> None:
    begun = slow_engines.steps
    with pytest.raises(InferenceServerException, match="svg: is not an output of illustrate"):
        client.infer("illustrate", [prompt()], outputs=[triton.InferRequestedOutput("svg")])
    assert slow_engines.steps == begun


# --- streams ----------------------------------------------------------------------------------------------------------


class Stream:
    """tritonclient's stream with its responses in a queue."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self.client = client
        self.answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: self.answers.put((result, error)))

    def infer(self, model: str = "illustrate", inputs: list[Any] | None = None, **options: Any) -> None:
        names = ("request_id", "outputs", "enable_empty_final_response", "timeout")
        own = {name: options.pop(name) for name in names if name in options}
        self.client.async_stream_infer(model, inputs or [prompt()], parameters=options, **own)

    def next(self) -> tuple[Any, Any]:
        return self.answers.get(timeout=60)


@pytest.fixture
def stream(client: triton.InferenceServerClient) -> Iterator[Stream]:
    yield Stream(client)
    client.stop_stream(cancel_requests=True)


def parameters_of(result: Any) -> dict[str, Any]:
    parameters = result.get_response().parameters
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}


@pytest.mark.parametrize(("parameters", "channels"), [({}, 3), ({"alpha": False}, 3), ({"alpha": True}, 4)])
def test_pictures_have_alpha_where_it_is_wanted(parameters: dict[str, Any], channels: int) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (200, 0, 0, 255)
    drawn = Parameters("red apple", "", "icons", 8, 8, 20, 3.0, 0.0, "flow_euler", 7)
    made = Illustration([Picture(pixels, 7)], drawn, 2, 0, 20, {}, {}, 0.1)
    image = to_outputs(made, InferRequest((), parameters=parameters))["image"]
    assert image.shape == (1, 8, 8, channels)
    assert image[0, 7, 0].tolist() == ([0, 0, 0, 0] if channels == 4 else [255, 255, 255])


@pytest.mark.parametrize("flag", [False, True])
def test_previews_precede_the_final_response(stream: Stream, client: triton.InferenceServerClient, flag: bool) -> None:
    """The final response has outputs: `enable_empty_final_response` adds no empty one."""
    options = {"seed": 7, "num_inference_steps": 6, "n": 2, "preview_every": 2}
    stream.infer(request_id="a", enable_empty_final_response=flag, **options)
    answers = [stream.next() for _ in range(5)]
    assert all(error is None for _, error in answers)
    results = [result for result, _ in answers]
    assert {result.get_response().id for result in results} == {"a"}
    for index in (0, 1):
        of_one = [parameters_of(result) for result in results[:4] if parameters_of(result)["index"] == index]
        assert of_one == [{"index": index, "step": step, "steps": 6, "triton_final_response": False} for step in (2, 4)]
    for preview in results[:4]:
        assert [output.name for output in preview.get_response().outputs] == ["image"]
        assert preview.as_numpy("image").shape == (1, 64, 64, 3)
    final = parameters_of(results[4])
    assert json.loads(final.pop("model_versions"))["toy_unet"] == "7"
    assert final == {"triton_final_response": True}
    plain = client.infer("illustrate", [prompt()], parameters=options)
    assert np.array_equal(results[4].as_numpy("image"), plain.as_numpy("image"))
    assert stream.answers.empty()


def test_progress_without_pixels(stream: Stream) -> None:
    """Only requested outputs are returned: without the image, previews have the step alone."""
    stream.infer(outputs=[triton.InferRequestedOutput("seed")], preview_every=3, seed=5)
    first, last = stream.next()[0], stream.next()[0]
    assert (parameters_of(first)["step"], list(first.get_response().outputs)) == (3, [])
    assert [output.name for output in last.get_response().outputs] == ["seed"]


def test_invalid_request_gets_an_error_and_the_stream_continues(stream: Stream, logo: bytes) -> None:
    stream.infer(request_id="bad", sampler="magic")
    error = stream.next()[1]
    assert str(error.message()).startswith("sampler: ")
    stream.infer(request_id="good")
    assert stream.next()[0].get_response().id == "good"
    stream.infer("vectorize", [tensor("image", [logo], "BYTES")])
    assert stream.next()[0].as_numpy("svg")[0].startswith(b"<svg")


def test_stream_error_has_the_request_id(studio_doors: Served) -> None:
    """Drawings of a stream run concurrently: the id names the failed request."""
    request = pb.ModelInferRequest(model_name="illustrate", id="mine")
    with grpc.insecure_channel(studio_doors.grpc) as channel:
        call = channel.stream_stream(
            STREAM, pb.ModelInferRequest.SerializeToString, pb.ModelStreamInferResponse.FromString
        )
        (answer,) = call(iter([request]), timeout=60)
    assert answer.error_message.startswith("inputs: ")
    assert answer.infer_response.id == "mine"
    assert answer.infer_response.parameters["triton_final_response"].bool_param
    assert answer.infer_response.parameters["grpc_status"].string_param == "INVALID_ARGUMENT"


def test_drawings_of_a_stream_run_concurrently(stream: Stream, slow: Slow) -> None:
    """The later, shorter drawing is answered first; requests with one response wait for neither."""
    stream.infer(request_id="long", num_inference_steps=40)
    stream.infer(request_id="short", num_inference_steps=10)
    rows = tensor("x", [[1.0]], "FP32")
    stream.infer("plus_one", [rows], request_id="engine")
    assert [stream.next()[0].get_response().id for _ in range(3)] == ["engine", "short", "long"]


def test_half_closed_stream_waits_for_its_responses(client: triton.InferenceServerClient, slow: Slow) -> None:
    stream = Stream(client)
    stream.infer(num_inference_steps=10)
    client.stop_stream()
    assert stream.next()[0].as_numpy("image").shape == (1, 64, 64, 3)


def test_cancelled_stream_ends_its_drawings_within_a_step(client: triton.InferenceServerClient, slow: Slow) -> None:
    slow.step_s = 0.1
    stream = Stream(client)
    for _ in range(3):
        stream.infer(num_inference_steps=900, preview_every=1)
    for _ in range(3):
        stream.next()
    client.stop_stream(cancel_requests=True)
    begun = slow.steps
    assert slow.rest() <= begun + 3  # a step of each may have started before the cancellation arrived


def test_concurrency_limits_of_stream_and_gateway(
    client: triton.InferenceServerClient, slow: Slow, studio_doors: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Surplus requests of a stream wait unread; those of the gateway are refused."""
    monkeypatch.setattr("serve.api.inference.grpc_stream.MAX_CONCURRENT", 3)
    slow.most = 0
    stream = Stream(client)
    for index in range(6):
        stream.infer(request_id=str(index), num_inference_steps=5)
    assert {stream.next()[0].get_response().id for _ in range(6)} == {str(index) for index in range(6)}
    assert slow.most == 3
    client.stop_stream()
    monkeypatch.undo()
    with triton.InferenceServerClient(studio_doors.grpc) as other:
        streams = [Stream(client), Stream(other)]
        for index in range(PLACES + 4):
            streams[index % 2].infer(num_inference_steps=40)
        outcomes = [streams[index % 2].next() for index in range(PLACES + 4)]
        other.stop_stream()
        client.stop_stream()
    refused = [str(error.message()) for _, error in outcomes if error is not None]
    assert len(refused) == 4
    assert all("too many requests are in work" in text for text in refused)


async def test_slow_reader_misses_previews_without_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.api.inference.grpc_stream.PREVIEW_TIMEOUT_S", 0.01)
    done = asyncio.Event()

    async def drawing() -> Any:
        for step in range(40):
            yield step, False
        done.set()
        yield "picture", True

    async def jobs() -> Any:
        yield Job(drawing(), concurrent=True)

    reading = interleaved(jobs())
    assert await anext(reading) == 0
    await asyncio.wait_for(done.wait(), 60)
    rest = [message async for message in reading]
    assert rest[-1] == "picture"
    assert len(rest) < 40


# --- pictures in -------------------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(5).integers(10, 245, (8, 8, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
MASK = np.zeros((64, 64, 3), np.uint8)
MASK[16:48, 16:40] = 255


def png(pixels: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(pixels))


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_pictures_are_inputs_as_files_or_pixels(kind: str, client: Any, over_http: Any) -> None:
    triton_client, package = (client, triton) if kind == "grpc" else (over_http, triton_http)
    results = []
    for image, mask in (
        (tensor("image", [png(PIXELS)], "BYTES", package), tensor("mask", [png(MASK)], "BYTES", package)),
        (tensor("image", PIXELS, "UINT8", package), tensor("mask", MASK, "UINT8", package)),
    ):
        inputs = [prompt(kind=package), image, mask, tensor("seed", [4], "INT64", package)]
        answer = triton_client.infer("illustrate", inputs, parameters={"mask_blur": 0, "strength": 0.6})
        results.append(answer.as_numpy("image")[0])
        parameters = json.loads(answer.as_numpy("parameters")[0])
        assert parameters["source"]["strength"] == 0.6
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][MASK[..., 0] == 0], PIXELS[MASK[..., 0] == 0])


def test_picture_needs_no_prompt_text_and_takes_tensors_for_its_use(client: triton.InferenceServerClient) -> None:
    inputs = [
        prompt(""),
        tensor("image", PIXELS, "UINT8"),
        tensor("strength", [0.5], "FP32"),
        tensor("outpaint", [b"left=8"], "BYTES"),
        tensor("seed", [4], "INT64"),
    ]
    answer = client.infer("illustrate", inputs)
    image = answer.as_numpy("image")
    assert image is not None
    assert image.shape == (1, 64, 72, 3)


@pytest.mark.parametrize(
    ("inputs", "parameters", "field"),
    [
        ([tensor("mask", MASK, "UINT8")], {}, "mask"),
        ([], {"strength": 0.5}, "strength"),
        ([tensor("image", PIXELS, "UINT8"), tensor("mask", MASK[:32], "UINT8")], {}, "mask"),
        ([tensor("image", PIXELS, "UINT8"), tensor("mask", MASK * 0, "UINT8")], {}, "mask"),
        ([tensor("image", PIXELS, "UINT8")], {"strength": 0}, "strength"),
        ([tensor("image", PIXELS, "UINT8")], {"strength": 2}, "strength"),
        ([tensor("image", PIXELS[..., 0], "UINT8")], {}, "image"),
        ([tensor("image", PIXELS.astype(np.float32), "FP32")], {}, "image"),
        ([tensor("image", [b"no picture"], "BYTES")], {}, "image"),
        ([tensor("image", PIXELS, "UINT8")], {"outpaint": "up=3"}, "outpaint"),
    ],
    ids=range(10),
)
def test_bad_pictures_are_refused_by_name(
    client: triton.InferenceServerClient, inputs: list[Any], parameters: dict[str, Any], field: str
) -> None:
    with pytest.raises(InferenceServerException, match=f"{field}: "):
        client.infer("illustrate", [prompt(), *inputs], parameters=parameters)
