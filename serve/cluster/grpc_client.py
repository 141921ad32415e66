"""Client of the gRPC endpoint for the command line: drawing with previews, and vectorizing."""

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

from serve.api.http.composition import regions_to_json, uses_to_json
from serve.api.inference.grpc_messages import CODE, parameter_of, set_parameters
from serve.api.inference.tensors import Array, bytes_array, from_binary, to_binary
from serve.cluster.http_client import KEY_HINT
from serve.engines.grpc_options import NO_PROXY
from serve.ensembles.illustrator.encoding import as_url
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters, Picture
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.illustrator.service import Preview
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
_GRACE_S = 30.0
"""Added to the request's time limit when waiting for the response."""
_NOT_SENT = ("prompt", "timeout_s", "engine_versions", "source", "regions", "loras", "controls", "references",
             "finish", "hires", "draws")  # fmt: skip

_NOT_TAKEN = ("restyle",)


class GrpcClient:
    """Client of the gRPC endpoint at ``address`` (host:port). Every failure is an ``AtelierError``."""

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
        """Previews, then the Illustration. Closing the iterator cancels the drawing."""
        for name in _NOT_TAKEN:
            if getattr(options, name):
                raise Unsupported(f"{name} are not taken by the gRPC endpoint; draw over HTTP", name)
        fields = {name: value for name, value in dataclasses.asdict(options).items() if value not in (None, "", ())}
        request = _request("illustrate", "prompt", options.prompt.encode())
        if options.source is not None:
            for name, picture in zip(("image", "mask"), options.source.pictures, strict=False):
                _add_input(request, name, picture.data)
            fields |= _uses(options.source)
        if options.regions:
            _add_input(request, "regions", json.dumps(regions_to_json(options.regions, as_url)).encode())
        if options.loras:
            loras = [{"name": lora.name, "weight": lora.weight} for lora in options.loras]
            _add_input(request, "loras", json.dumps(loras).encode())
        for name, uses in (("controls", options.controls), ("references", options.references)):
            if uses:
                _add_input(request, name, json.dumps(uses_to_json(uses, as_url)).encode())
        fields |= {"alpha": True, **options.finish.to_json(), **({} if options.draws else {"draws": False})}
        set_parameters(request, {name: value for name, value in fields.items() if name not in _NOT_SENT})
        if options.timeout_s is not None:
            set_parameters(request, {"timeout": round(options.timeout_s * 1e6)})
        limit_s = (options.timeout_s or self._timeout_s) + _GRACE_S
        with self._errors():
            responses = self._stub.ModelStreamInfer(iter([request]), timeout=limit_s, metadata=self._key)
            try:
                for response in responses:
                    yield _parse_drawing(response)
            finally:
                responses.cancel()

    def vectorize(self, image: bytes) -> Vectorization:
        """Vectorize an encoded picture."""
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
    _add_input(request, name, data)
    return request


def _add_input(request: Any, name: str, data: bytes) -> None:
    request.inputs.add(name=name, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(to_binary(bytes_array([data], (1,), name)))


def _uses(source: PictureSource) -> dict[str, Any]:
    """How the picture is drawn from, as parameters of the model."""
    names = ("strength", "fit", "mask_blur", "mask_fill", "mask_crop", "mask_crop_padding")
    values = {name: value for name in names if (value := getattr(source, name)) is not None}
    margins = dataclasses.asdict(source.outpaint)
    if source.outpaint:
        values["outpaint"] = ",".join(f"{side}={pixels}" for side, pixels in margins.items())
    return values


def _parse_drawing(response: Any) -> Preview | Illustration:
    parameters = {name: parameter_of(value) for name, value in response.infer_response.parameters.items()}
    if response.error_message:
        raise _error(parameters.get(CODE, ""), response.error_message)
    outputs = _outputs(response.infer_response)
    if "step" in parameters:
        return Preview(parameters["index"], parameters["step"], parameters["steps"], outputs["image"][0])
    metadata = json.loads(outputs["metadata"][0])
    pictures = [Picture(*pair) for pair in zip(outputs["image"], outputs["seed"].tolist(), strict=True)]
    return Illustration(**{**metadata, "pictures": pictures, "parameters": Parameters(**metadata["parameters"])})


def _error(code: str, text: str) -> AtelierError:
    """``text`` starts with "FIELD: " if a field is at fault."""
    field, colon, rest = text.partition(": ")
    kind = _BY_CODE.get(code, AtelierError)
    text = f"{text}. {KEY_HINT}" if kind is Unauthorized else text
    return kind(rest, field) if colon and field.isidentifier() and kind is not Unauthorized else kind(text)


def _outputs(answer: Any) -> dict[str, Array]:
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {o.name: np.asarray(from_binary(raw, o.datatype, tuple(o.shape), o.name)) for o, raw in pairs}
