"""Conversions and analyses that end early, at every endpoint: slot, engine and tracer are free at once (D-052). A
real Vectorizer, blocked in an engine that does not respond or in a stopped tracer process, behind endpoints with a
state."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from hops.conversion_hop import NEVER_S, ConversionHop
from hops.loop_doors import is_late, loop_doors
from pictures import drawn, encode
from tritonclient.grpc import service_pb2 as pb
from waiting import until

from serve.api.inference.grpc_messages import set_parameters
from serve.settings import DatabaseSettings, Settings
from serve.state import State

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATE_S = 0.8
FORMS = {"convert": "/api/convert", "convert-ai": "/api/convert-ai", "analyze": "/api/analyze-image"}
PROTOCOL = {"kserve": "/v2/models/vectorize/generate", "kserve infer": "/v2/models/vectorize/infer"}
HELD = [
    (door, where)
    for door, where in itertools.product([*FORMS, *PROTOCOL], ["engine", "tracer"])
    if (door, where) != ("convert", "engine")  # it uses no engine
]
METHODS = ["ModelInfer", "ModelStreamInfer"]
EVERYWHERE = pytest.mark.parametrize(("door", "where"), HELD)
WAYS: dict[str, dict[str, Any]] = {
    "grpc-timeout": {"timeout": LATE_S},
    "metadata": {"metadata": [("x-request-timeout", str(LATE_S))]},
    "parameter": {"parameters": {"timeout": round(LATE_S * 1e6)}},
}


class Site:
    """Every picture is different, so that nothing is cached."""

    def __init__(self, hop: ConversionHop, http: httpx.AsyncClient, stub: Any) -> None:
        self.hop = hop
        self.http = http
        self.grpc = stub
        self._sizes = itertools.count(48)

    async def post(self, door: str, headers: Mapping[str, str] = {}, **parameters: int) -> httpx.Response:
        image = self.image()
        if door in FORMS:
            return await self.http.post(FORMS[door], files={"image": image}, headers=headers)
        text = base64.b64encode(image).decode()
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
        body = {"image": text, **parameters} if door == "kserve" else {"inputs": [tensor], "parameters": parameters}
        return await self.http.post(PROTOCOL[door], json=body, headers=headers)

    def call(self, method: str, parameters: Mapping[str, int] = {}, **more: Any) -> asyncio.Future[Any]:
        """The first response of the call."""
        request = pb.ModelInferRequest(model_name="vectorize")
        request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(self.image())
        set_parameters(request, parameters)
        if method == "ModelInfer":
            return asyncio.ensure_future(self.grpc.ModelInfer(request, **more))
        return asyncio.ensure_future(self.grpc.ModelStreamInfer(iter([request]), **more).read())

    def image(self) -> bytes:
        return encode(drawn(size=next(self._sizes)))

    async def is_free(self) -> bool:
        """Slot, engine and tracer are free, and the next picture is converted."""
        if not await self.hop.is_left():
            return False
        self.hop.release()
        return (await self.post("convert-ai")).status_code == 200


@pytest.fixture(scope="module")
def kept(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("conversions")
    (folder / "atelier.db").write_bytes(sqlite_template.read_bytes())
    return Settings(database=DatabaseSettings(url=f"sqlite:///{folder / 'atelier.db'}"), state_dir=folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_site(kept: Settings) -> AsyncIterator[Site]:
    state, hop = await State.open(kept), ConversionHop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serve.ensembles.vectorizer.analysis.INSPECT_LIMIT_S", NEVER_S)
        await hop.start()
        async with loop_doors(hop, state=state) as (http, stub):
            yield Site(hop, http, stub)
        await hop.close()
    await state.close()


@pytest.fixture
async def site(whole_site: Site) -> AsyncIterator[Site]:
    yield whole_site
    whole_site.hop.release()


@EVERYWHERE
async def test_client_disconnect_frees_the_slot(site: Site, door: str, where: str) -> None:
    """Ray Serve cancels the task of the application."""
    await site.hop.hold(where)
    pending = asyncio.create_task(site.post(door))
    await site.hop.held()
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    assert await site.is_free()


@EVERYWHERE
async def test_deadline_frees_the_slot_and_is_reported(site: Site, door: str, where: str) -> None:
    await site.hop.hold(where)
    assert is_late(await site.post(door, {"X-Request-Timeout": str(LATE_S)}))
    assert await site.is_free()


@pytest.mark.parametrize("where", ["engine", "tracer"])
@pytest.mark.parametrize("door", PROTOCOL)
async def test_protocol_timeout_frees_the_slot(site: Site, door: str, where: str) -> None:
    await site.hop.hold(where)
    assert is_late(await site.post(door, timeout=round(LATE_S * 1e6)))
    assert await site.is_free()


@pytest.mark.parametrize("door", [*FORMS, *PROTOCOL])
async def test_request_queued_past_its_deadline_never_starts(site: Site, door: str) -> None:
    await site.hop.hold("engine")
    first = asyncio.create_task(site.post("convert-ai"))
    await site.hop.held()
    calls = site.hop.engines.inferences
    assert is_late(await site.post(door, {"X-Request-Timeout": str(LATE_S)}))
    await until(lambda: site.hop.queue.queued == 0)
    assert site.hop.engines.inferences == calls
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await site.is_free()


@pytest.mark.parametrize("where", ["engine", "tracer"])
@pytest.mark.parametrize("way", WAYS)
async def test_inference_deadline(site: Site, way: str, where: str) -> None:
    await site.hop.hold(where)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.call("ModelInfer", **WAYS[way])
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await site.is_free()


@pytest.mark.parametrize("where", ["engine", "tracer"])
@pytest.mark.parametrize("way", WAYS)
async def test_stream_deadline(site: Site, way: str, where: str) -> None:
    """The last message of the stream reports the deadline, unless gRPC's own timeout has ended the whole stream
    before."""
    await site.hop.hold(where)
    reading = site.call("ModelStreamInfer", **WAYS[way])
    await asyncio.wait({reading})
    error = reading.exception()
    if isinstance(error, grpc.aio.AioRpcError):
        assert (way, error.code()) == ("grpc-timeout", grpc.StatusCode.DEADLINE_EXCEEDED)
    else:
        assert reading.result().infer_response.parameters["grpc_status"].string_param == "DEADLINE_EXCEEDED"
    assert await site.is_free()


@pytest.mark.parametrize("where", ["engine", "tracer"])
@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_call_frees_the_slot(site: Site, method: str, where: str) -> None:
    """Cancelling the task that reads a call cancels the call."""
    await site.hop.hold(where)
    calling = site.call(method)
    await site.hop.held()
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    assert await site.is_free()
