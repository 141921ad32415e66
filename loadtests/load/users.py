"""Locust users of both doors. Run by ``python -m loadtests.load``, or alone: ``locust -f loadtests/load/users.py``."""

from __future__ import annotations

import itertools
import time
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import FastHttpUser, User, constant, events, task
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from loadtests.load.drawings import all_encoded

grpc_gevent.init_gevent()
PICTURES = all_encoded()
TIMEOUT_S = 120.0
PAUSE_S = 1.0
ANEW = {"Cache-Control": "no-cache"}
"""Load is work: no answer is to come from the cache, nor from a request that is under way."""
"""After a failure, so that a stack that refuses is not flooded."""


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--grpc-address", default="127.0.0.1:9000", help="host:port of the gRPC door")
    parser.add_argument("--tier", default="auto", help="tier of every conversion")
    parser.add_argument("--http-weight", type=int, default=3, help="HTTP callers per gRPC callers")
    parser.add_argument("--grpc-weight", type=int, default=1, help="gRPC callers per HTTP callers")


@events.init.add_listener
def _weights(environment: Any, **_: Any) -> None:
    HttpCaller.weight = environment.parsed_options.http_weight
    GrpcCaller.weight = environment.parsed_options.grpc_weight


class HttpCaller(FastHttpUser):  # type: ignore[misc]
    """Multipart in, JSON out."""

    wait_time = constant(0)
    connection_timeout = TIMEOUT_S
    network_timeout = TIMEOUT_S

    def on_start(self) -> None:
        self.pictures = itertools.cycle(PICTURES)

    @task
    def convert(self) -> None:
        files = {"image": ("picture", next(self.pictures))}
        form = {"tier": self.environment.parsed_options.tier}
        with self.client.post("/api/convert-ai", files=files, data=form, headers=ANEW, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:120]}")
            elif not answer.json()["svg_content"].startswith("<svg"):
                answer.failure("no SVG in the answer")
        if answer.status_code != 200:
            gevent.sleep(PAUSE_S)


class GrpcCaller(User):  # type: ignore[misc]
    """A stock tritonclient: one BYTES tensor in, the SVG out."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.pictures = itertools.cycle(PICTURES)
        self.triton = triton.InferenceServerClient(self.environment.parsed_options.grpc_address)

    def on_stop(self) -> None:
        self.triton.close()

    @task
    def infer(self) -> None:
        image = triton.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([next(self.pictures)], object))
        tier = {"tier": self.environment.parsed_options.tier}
        wanted = [triton.InferRequestedOutput("svg")]
        start, failure, length = time.perf_counter(), None, 0
        try:
            answer = self.triton.infer("vectorize", [image], outputs=wanted, parameters=tier, client_timeout=TIMEOUT_S)
            length = len(answer.as_numpy("svg")[0])
        except InferenceServerException as error:
            failure = error
        events.request.fire(
            request_type="gRPC",
            name="ModelInfer vectorize",
            response_time=(time.perf_counter() - start) * 1e3,
            response_length=length,
            exception=failure,
            context={},
        )
        if failure:
            gevent.sleep(PAUSE_S)
