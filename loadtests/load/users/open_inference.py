"""The open inference protocol by the stock ``tritonclient``, over gRPC and over HTTP (KServe v2)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http

from loadtests.load import answers
from loadtests.load.answers import Wrong
from loadtests.load.users.load_user import TIMEOUT_S, LoadUser

VECTORIZE, ILLUSTRATE = "vectorize", "illustrate"
OWN_END = 0.95
"""Of the limit: gRPC's library ends a call itself, before it is torn out of it."""


class _OpenInference(LoadUser):
    """``protocol``: one of tritonclient's modules, which have the same names in them."""

    abstract = True
    protocol: Any = None

    def infer(self, model: str, inputs: list[Any], outputs: list[Any], parameters: dict[str, Any]) -> Any:
        raise NotImplementedError

    def tensor(self, name: str, data: bytes) -> Any:
        found = self.protocol.InferInput(name, [1], "BYTES")
        found.set_data_from_numpy(np.array([data], object))
        return found

    def vectorize(self) -> bool:
        wanted = self.requests.conversion()
        inputs, outputs = (
            [self.tensor("image", wanted.image)],
            [self.protocol.InferRequestedOutput(name) for name in ("svg", "metadata")],
        )
        options = {**wanted.options, "target_quality": float(wanted.options["target_quality"])}

        def check(answer: Any) -> None:
            answers.check_not_degraded(json.loads(answer.as_numpy("metadata").flat[0])["degraded"])
            pixels = answers.svg(answer.as_numpy("svg").flat[0], wanted.side_px, wanted.side_px)
            self.known.check(wanted.known_as, pixels)

        return self.ask(VECTORIZE, lambda: self.infer(VECTORIZE, inputs, outputs, options), check) is not None

    def illustrate(self) -> bool:
        wanted = self.requests.illustration()
        inputs = [self.tensor("prompt", wanted.prompt.encode())]
        outputs = [self.protocol.InferRequestedOutput("image")]
        options = {"seed": wanted.seed, "num_inference_steps": wanted.steps}

        def check(answer: Any) -> None:
            pictures = answer.as_numpy("image")
            if pictures.ndim != 4 or pictures.shape[0] != 1 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
                raise Wrong("no picture of three channels")
            self.known.check(wanted.known_as, pictures[0])

        return self.ask(ILLUSTRATE, lambda: self.infer(ILLUSTRATE, inputs, outputs, options), check) is not None


class _Grpc(_OpenInference):
    abstract = True
    vocabulary = "gRPC v2"
    protocol = triton_grpc

    def on_start(self) -> None:
        super().on_start()
        self.client = triton_grpc.InferenceServerClient(self.grpc_address)
        self.authority = {"authorization": f"Bearer {self.key}"} if self.key else None

    def on_stop(self) -> None:
        self.client.close()

    def infer(self, model: str, inputs: list[Any], outputs: list[Any], parameters: dict[str, Any]) -> Any:
        arguments = {"outputs": outputs, "parameters": parameters, "headers": self.authority}
        return self.client.infer(model, inputs, client_timeout=OWN_END * self.limit_s, **arguments)


class _KServe(_OpenInference):
    abstract = True
    vocabulary = "KServe v2"
    protocol = triton_http

    def on_start(self) -> None:
        super().on_start()
        where = urlsplit(self.host)
        self.client = triton_http.InferenceServerClient(
            where.netloc, ssl=where.scheme == "https", connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S
        )
        self.authority = {"Authorization": f"Bearer {self.key}"} if self.key else None

    def on_stop(self) -> None:
        self.client.close()

    def infer(self, model: str, inputs: list[Any], outputs: list[Any], parameters: dict[str, Any]) -> Any:
        return self.client.infer(model, inputs, outputs=outputs, parameters=parameters, headers=self.authority)


class GrpcVectorize(_Grpc):
    def act(self) -> bool:
        return self.vectorize()


class GrpcIllustrate(_Grpc):
    def act(self) -> bool:
        return self.illustrate()


class KServeVectorize(_KServe):
    def act(self) -> bool:
        return self.vectorize()


class KServeIllustrate(_KServe):
    def act(self) -> bool:
        return self.illustrate()
