"""The open inference protocol over gRPC: the stock client against a real server, and undecodable messages."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from pictures import ACCEPTED, REFUSED
from standin import Served
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

METHOD = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.grpc) as client:
        yield client


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", 64 * 1024 * 1024)]
    with grpc.insecure_channel(served.grpc, options) as channel:
        yield channel


def image_input(data: bytes) -> triton.InferInput:
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([data], object))
    return tensor


def test_stock_client_reads_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("vectorize")
    assert client.get_server_metadata().name == "atelier"
    assert client.get_model_metadata("vectorize").inputs[0].datatype == "BYTES"
    assert client.get_model_metadata("plus_one").inputs[0].shape == [-1, 4]
    assert client.get_model_config("vectorize").config.input[0].data_type == 13  # TYPE_STRING
    assert len(client.get_inference_statistics().model_stats) == 2
    assert {model.name for model in client.get_model_repository_index().models} == {"vectorize", "plus_one"}
    client.load_model("plus_one")
    with pytest.raises(InferenceServerException, match="configuration"):
        client.load_model("plus_one", config="{}")
    with pytest.raises(InferenceServerException, match="stay loaded"):
        client.unload_model("plus_one")


def test_stock_client_vectorizes(client: triton.InferenceServerClient, logo: bytes) -> None:
    result = client.infer("vectorize", [image_input(logo)], request_id="7", parameters={"tier": "2", "validate": True})
    assert result.as_numpy("svg")[0].startswith(b"<svg")
    assert result.as_numpy("tier")[0] == b"2"
    assert result.as_numpy("actual_quality")[0] == np.float32(0.95)
    assert result.get_response().id == "7"


@pytest.mark.parametrize("kind", ACCEPTED)
def test_unusual_pictures_are_accepted(client: triton.InferenceServerClient, kind: str) -> None:
    assert client.infer("vectorize", [image_input(ACCEPTED[kind])]).as_numpy("svg")[0].startswith(b"<svg")


def test_typed_contents(channel: grpc.Channel, logo: bytes) -> None:
    """tritonclient sends only raw contents; the protocol also has typed ones."""
    call = channel.unary_unary(METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
    request = pb.ModelInferRequest(model_name="vectorize")
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(logo)
    answer = call(request)
    assert b"<svg" in answer.raw_output_contents[0]
    request = pb.ModelInferRequest(model_name="plus_one")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    assert np.frombuffer(call(request).raw_output_contents[0], np.float32).tolist() == [2, 3]


def test_stream_continues_after_an_invalid_request(client: triton.InferenceServerClient, logo: bytes) -> None:
    """An invalid request does not end the stream."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for data in (logo, b"no picture", logo):
        client.async_stream_infer("vectorize", [image_input(data)], enable_empty_final_response=True)
    seen = [answers.get(timeout=60) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in seen] == [True, False, True]
    assert "image" in str(seen[1][1])
    assert seen[0][0].get_response().parameters["triton_final_response"].bool_param


def refused(client: triton.InferenceServerClient, *inputs: triton.InferInput, **how: Any) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(how.pop("model", "vectorize"), list(inputs), **how)
    assert caught.value.status() in ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")
    assert "Traceback" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_pictures_are_refused(client: triton.InferenceServerClient, kind: str) -> None:
    error = refused(client, image_input(REFUSED[kind]))
    assert "image" in str(error) or kind == "too_large"


@pytest.mark.parametrize("parameters", [{"tier": 9}, {"target_quality": "2.0"}, {"time_budget": -1}, {"tieer": 1}])
def test_wrong_parameters_are_refused(
    client: triton.InferenceServerClient, logo: bytes, parameters: dict[str, Any]
) -> None:
    assert next(iter(parameters)) in str(refused(client, image_input(logo), parameters=parameters))


def test_wrong_tensors_and_models_are_refused(client: triton.InferenceServerClient, logo: bytes) -> None:
    floats = triton.InferInput("image", [1], "FP32")
    floats.set_data_from_numpy(np.ones(1, np.float32))
    assert "image" in str(refused(client, floats))
    assert refused(client, image_input(logo), model="nothing").status() == "StatusCode.NOT_FOUND"
    assert "png" in str(refused(client, image_input(logo), outputs=[triton.InferRequestedOutput("png")]))
    assert refused(client, image_input(logo), model_version="9").status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("typed", [False, True])
def test_non_finite_numbers_pass_to_the_engine_and_back(channel: grpc.Channel, typed: bool) -> None:
    """As in Triton itself: raw contents, and typed ones."""
    values = np.array([[np.nan, np.inf, -np.inf, -3e38]], np.float32)
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])
    request = pb.ModelInferRequest(model_name="plus_one", inputs=[tensor])
    if typed:
        request.inputs[0].contents.fp32_contents.extend(values.ravel())
    else:
        request.raw_input_contents.append(values.tobytes())
    answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    found = np.frombuffer(answer.raw_output_contents[0], np.float32)
    assert np.isnan(found[:3]).all()  # the stand-in subtracts infinities
    assert found[3] == -np.inf


def test_undecodable_messages_are_refused(channel: grpc.Channel) -> None:
    """INVALID_ARGUMENT: a client error, not a server error."""
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        if method.client_streaming:
            continue
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method.name}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff\xff no message", timeout=60)
        assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED), method.name


def test_contents_of_the_wrong_type_or_length_are_refused(channel: grpc.Channel) -> None:
    call = channel.unary_unary(METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
    requests = [pb.ModelInferRequest(model_name="vectorize") for _ in range(4)]
    requests[1].inputs.add(name="image", datatype="BYTES", shape=[1])
    requests[1].raw_input_contents.extend([b"\xff\xff\xff\xff"])
    requests[2].inputs.add(name="image", datatype="UINT8", shape=[-4, 4, 4])
    requests[2].raw_input_contents.extend([b"abcd"])
    requests[3].inputs.add(name="image", datatype="BYTES", shape=[1])
    requests[3].raw_input_contents.extend([b"", b""])
    for request in requests:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=60)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
