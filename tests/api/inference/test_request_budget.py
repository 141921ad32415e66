"""What a hot request may cost: Python function calls (a resumed coroutine counts again), SQL statements.

The numbers do not depend on the machine. A change that lowers a count lowers its budget; one that raises it says why.
Calls of other threads are not counted, nor what Ray Serve and uvicorn do around the application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keyed_door import KeyedSite, keyed_site
from programs.call_counts import Counts, counts_of
from standin import Array, StandIn
from tritonclient.grpc import service_pb2 as pb

from loadtests.load.drawings import DRAWINGS, encoded
from loadtests.peers import wire
from loadtests.peers.whole_jobs import form
from serve.api.inference.grpc import OpenInferenceServicer
from serve.cluster.replicas import Replica
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings
from serve.state import State

pytestmark = pytest.mark.ray

INPUTS = {"x": np.zeros((8, 4), np.float32)}
NO_CACHE = ("Cache-Control", "no-cache")


@dataclass(frozen=True)
class Budget:
    """``calls``: the count when it was set, of which a tenth more is allowed, for other versions of Python."""

    calls: int
    statements: int = 0
    transactions: int = 0

    def check(self, counts: Counts) -> None:
        detail = dict(counts.by_module.most_common(20))
        assert counts.calls <= 1.1 * self.calls, f"{counts.calls} calls: {detail}"
        assert (counts.statements, counts.transactions) <= (self.statements, self.transactions)


class Instant(StandIn):
    """Answers without any work, as what is counted is the way to it and back."""

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        if not hasattr(self, "_made"):
            self._made = await super().vectorize(data, options)
        return self._made

    async def infer(self, engine: str, inputs: Mapping[str, Array], **options: Any) -> dict[str, Array]:
        return {"y": inputs["x"]}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[KeyedSite]:
    state = await State.open(Settings(state_dir=tmp_path))
    async with keyed_site(state, service=Instant(), access={"required": "off"}) as site:
        await site.app.state.models.metadata("plus_one")
        yield site
    await state.close()


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are logged, as by default, to a handler that does nothing."""
    logger = logging.getLogger("serve.requests")
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()


def engine_of(site: KeyedSite) -> Any:
    return site.state.database._engine.sync_engine


def post(site: KeyedSite, path: str, body: bytes, *headers: tuple[str, str]) -> Callable[[], Awaitable[None]]:
    """A request as an HTTP server makes it of the bytes on a connection."""
    lines = [("host", "127.0.0.1:8000"), ("content-length", str(len(body))), *headers]
    raw = [(name.lower().encode(), value.encode()) for name, value in lines]

    async def send_request() -> None:
        messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": list(raw),
            "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "state": {},
        }  # fmt: skip

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await site.whole(scope, receive, send)
        assert sent[0]["status"] == 200, sent

    return send_request


async def test_inference_over_http(site: KeyedSite) -> None:
    body, length = wire.request(INPUTS)
    kind = ("content-type", "application/octet-stream")
    request = post(site, "/v2/models/plus_one/infer", body, (wire.HEADER_LENGTH, str(length)), kind)
    Budget(calls=319).check(await counts_of(request, engine_of(site)))


class Call:
    """A gRPC call's context."""

    def invocation_metadata(self) -> Any:
        return (("user-agent", "grpc"),)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5000"

    def code(self) -> Any:
        return None

    def trailing_metadata(self) -> Any:
        return ()

    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    def set_code(self, code: Any) -> None:
        raise AssertionError(code)

    def set_details(self, details: str) -> None: ...


async def test_inference_over_grpc(site: KeyedSite) -> None:
    servicer = OpenInferenceServicer(site.app.state.models, site.state.settings, site.entrance)
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[8, 4])
    message = pb.ModelInferRequest(model_name="plus_one", inputs=[tensor], raw_input_contents=[INPUTS["x"].tobytes()])
    raw = message.SerializeToString()

    async def request() -> None:
        assert await servicer.infer_directly(raw, Call())

    Budget(calls=227).check(await counts_of(request, engine_of(site)))


class Closeless(Replica):
    """Ray Serve awaits the replica's own ``__del__``."""

    def __del__(self) -> None: ...  # type: ignore[override]


async def test_inference_in_the_replica() -> None:
    replica = Closeless()
    replica._ensemble, replica._admission = Instant(), AdmissionQueue(4, 4)

    async def request() -> None:
        answers = [one async for one in replica.answer("infer", {}, "plus_one", INPUTS, urgency=(10.0, 0))]
        assert set(answers[0]) == {"y"}

    Budget(calls=54).check(await counts_of(request))


@pytest.mark.parametrize(
    ("headers", "budget"),
    [((NO_CACHE,), Budget(1631)), ((), Budget(930))],
    ids=["computed", "from the cache"],
)
async def test_conversion(site: KeyedSite, headers: tuple[tuple[str, str], ...], budget: Budget) -> None:
    """Batches of writes do not pass through SQLAlchemy, so only reads are counted as statements."""
    body = form(encoded(next(iter(DRAWINGS)), 64))
    kind = ("content-type", "multipart/form-data; boundary=atelier-peers-boundary")
    request = post(site, "/api/convert-ai", body, kind, ("accept", "image/svg+xml"), *headers)
    budget.check(await counts_of(request, engine_of(site), warm=5, runs=5))
