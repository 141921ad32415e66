"""A small client of the gRPC door, for the command line: draws with previews on the way, and vectorises."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
from pydantic import SecretStr
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from serve.api.inference.grpc_messages import CODE, parameter_of, tell_parameters
from serve.api.inference.tensors import Array, bytes_array, from_binary, to_binary
from serve.cluster.http_client import HOW
from serve.engines.grpc_options import NO_PROXY
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters, Picture, Preview
from serve.ensembles.vectorizer.vectorization import Vectorization
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unsupported,
)

_BY_CODE: dict[str, type[AtelierError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "UNIMPLEMENTED": Unsupported,
    "UNAUTHENTICATED": Unauthorized,
    "PERMISSION_DENIED": Forbidden,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INTERNAL": EngineFailure,
}
_SPARE_S = 30.0
"""How much longer than a stack may work its answer is waited for."""
_NOT_SENT = ("prompt", "timeout_s", "engine_versions")


class GrpcClient:
    """Talks to the stack whose gRPC door is at ``address`` (host:port); every failure is an ``AtelierError``."""

    def __init__(self, address: str, timeout_s: float = 3600.0, key: SecretStr | None = None) -> None:
        if not re.fullmatch(r"(?:[^\s/:]+|\[[0-9A-Fa-f:]+\]):\d{1,5}", address):
            raise InvalidRequest("must be the host:port of a gRPC door, such as 127.0.0.1:9000", "url")
        self._address = address
        self._timeout_s = timeout_s
        self._key = [("authorization", f"Bearer {key.get_secret_value()}")] if key is not None else []
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(address, [*unlimited, NO_PROXY])
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def reachable(self) -> bool:
        try:
            return bool(self._stub.ServerLive(pb.ServerLiveRequest(), timeout=2.0).live)
        except grpc.RpcError:
            return False

    def close(self) -> None:
        self._channel.close()

    def draw(self, options: IllustrateOptions) -> Iterator[Preview | Illustration]:
        """Previews, then the Illustration; to stop reading ends the drawing."""
        given = {name: value for name, value in dataclasses.asdict(options).items() if value not in (None, "")}
        request = _request("illustrate", "prompt", options.prompt.encode())
        tell_parameters(request, {name: value for name, value in given.items() if name not in _NOT_SENT})
        if options.timeout_s is not None:
            tell_parameters(request, {"timeout": round(options.timeout_s * 1e6)})
        limit_s = (options.timeout_s or self._timeout_s) + _SPARE_S
        with self._errors():
            answers = self._stub.ModelStreamInfer(iter([request]), timeout=limit_s, metadata=self._key)
            try:
                for answer in answers:
                    yield _drawn(answer)
            finally:
                answers.cancel()

    def vectorize(self, image: bytes) -> Vectorization:
        """Of an encoded picture."""
        with self._errors():
            answer = self._stub.ModelInfer(
                _request("vectorize", "image", image), timeout=self._timeout_s, metadata=self._key
            )
        outputs = _outputs(answer)
        return Vectorization(svg=outputs["svg"][0].decode(), **json.loads(outputs["metadata"][0]))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code == "UNAVAILABLE":
                raise EngineUnavailable(f"no stack answers at {self._address} ({details})") from None
            raise _error(code, details) from None


def _request(model: str, name: str, data: bytes) -> Any:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(to_binary(bytes_array([data], (1,), name)))
    return request


def _drawn(answer: Any) -> Preview | Illustration:
    parameters = {name: parameter_of(value) for name, value in answer.infer_response.parameters.items()}
    if answer.error_message:
        raise _error(parameters.get(CODE, ""), answer.error_message)
    outputs = _outputs(answer.infer_response)
    if "step" in parameters:
        return Preview(parameters["index"], parameters["step"], parameters["steps"], outputs["image"][0])
    told = json.loads(outputs["metadata"][0])
    pictures = [Picture(*pair) for pair in zip(outputs["image"], outputs["seed"].tolist(), strict=True)]
    return Illustration(**{**told, "pictures": pictures, "parameters": Parameters(**told["parameters"])})


def _error(code: str, text: str) -> AtelierError:
    """``text`` begins with the field at fault, if one is."""
    field, colon, rest = text.partition(": ")
    kind = _BY_CODE.get(code, AtelierError)
    text = f"{text}. {HOW}" if kind is Unauthorized else text
    return kind(rest, field) if colon and field.isidentifier() and kind is not Unauthorized else kind(text)


def _outputs(answer: Any) -> dict[str, Array]:
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {o.name: np.asarray(from_binary(raw, o.datatype, tuple(o.shape), o.name)) for o, raw in pairs}
