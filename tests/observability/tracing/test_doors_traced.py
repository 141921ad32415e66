"""Traces of requests: one trace each, without any data of the user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from keyed_door import CLIENT, KeyedSite, calling, keyed_site
from otlp_collector import Collector, ReceivedSpan, tree
from pydantic import SecretStr
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.observability.tracing import export
from serve.settings import IllustratorSettings, Settings
from serve.state import State
from tests.ensembles.drawn_family import engines, write_family
from tests.jobs.webhooks.webhook_receiver import Receiver

SECRET = SecretStr("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
PROMPT, USER = "red apple, zanzibar", "ada.lovelace"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
async def site(tmp_path: Path, traced: Collector) -> AsyncIterator[KeyedSite]:
    state = await State.open(Settings(state_dir=tmp_path))
    own = IllustratorSettings(model_repository=write_family(tmp_path / "family"))
    webhooks = {"secret": SECRET, "allow_private": True, "retry_s": 0.02}
    async with keyed_site(state, Illustrator(own, engines=engines()), webhooks=webhooks) as found:
        yield found
    await state.close()


async def sent(collector: Collector) -> list[ReceivedSpan]:
    await asyncio.to_thread(export.stop)
    return collector.spans


async def test_drawing_is_one_trace_with_steps_as_events(site: KeyedSite, traced: Collector) -> None:
    async with site.door((await site.key(USER)).secret) as door:
        body = {"prompt": PROMPT, "n": 2, "steps": 50, "seed": 5}
        answer = await door.post("/v1/images/generations", json=body, headers={"traceparent": PARENT})
    assert answer.status_code == 200, answer.text
    spans = await sent(traced)
    assert {one.trace for one in spans} == {TRACE}
    assert answer.headers["traceresponse"].split("-")[1] == TRACE
    first = next(one for one in spans if one.parent == "b7ad6b7169203331")
    assert (first.name, first.kind) == ("POST /v1/images/generations", 2)
    assert first.attributes["http.response.status_code"] == 200
    assert tree(spans)["paint"] == tree(spans)["prompt"] == first.name
    paints = [one for one in spans if one.name == "paint"]
    assert [len(one.events) for one in paints] == [50, 50]
    assert len(spans) < 10, "fifty steps stay readable"
    for paint in paints:
        assert [attributes["step"] for _, attributes in paint.events] == list(range(1, 51))
        times = [attributes["timestep"] for _, attributes in paint.events]
        assert times == sorted(times, reverse=True)
        assert all(attributes["rows"] == 2 and attributes["duration_ms"] > 0 for _, attributes in paint.events)


async def test_job_and_its_webhook_are_one_trace(site: KeyedSite, traced: Collector) -> None:
    """The webhook's receiver gets no trace headers."""
    async with Receiver().listening() as receiver, site.door((await site.key(USER)).secret) as door:
        order = {"kind": "illustrate", "input": {"prompt": PROMPT}, "webhook_url": receiver.url}
        answer = await door.post("/v1/jobs", json=order, headers={"x-request-id": "r-17"})
        assert answer.status_code == 202, answer.text
        worker = Worker(site.state, JobExecutor(site.state, site.app.state.service, site.illustrator))
        await worker.start()
        sending = asyncio.create_task(WebhookDelivery(site.state, lambda: worker.worker_id, "http://a").run())
        async with asyncio.timeout(60):
            while not receiver.calls:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.02)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await worker.close()
    spans = await sent(traced)
    parents = tree(spans)
    assert {one.trace for one in spans} == {answer.headers["traceresponse"].split("-")[1]}
    assert (parents["POST /v1/jobs"], parents["queue"]) == ("", "POST /v1/jobs")
    assert (parents["job illustrate"], parents["paint"], parents["webhook"]) == ("queue", "job illustrate", "queue")
    assert "trace" not in str(receiver.calls[0].headers).lower()


async def test_grpc_call_is_traced(site: KeyedSite, traced: Collector) -> None:
    key = (await site.key(USER)).secret
    request = pb.ModelInferRequest(model_name="plus_one", raw_input_contents=[b"\0" * 16])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = [("x-api-key", key), ("traceparent", PARENT), ("x-request-id", "r-18")]
        call = stub.ModelInfer(request, metadata=metadata)
        await call
        trailing = dict(await call.trailing_metadata())
        refused = stub.ModelInfer(pb.ModelInferRequest(model_name="none"), metadata=[("x-api-key", key)])
        with pytest.raises(grpc.aio.AioRpcError):
            await refused
        assert len(dict(await refused.trailing_metadata())["x-request-id"]) == 32
        await stub.ServerLive(pb.ServerLiveRequest(), metadata=[("traceparent", PARENT)])
    first, second = await sent(traced)
    assert (trailing["x-request-id"], trailing["traceresponse"]) == ("r-18", f"00-{TRACE}-{first.id}-01")
    assert first.parent == "b7ad6b7169203331"
    assert first.name == "inference.GRPCInferenceService/ModelInfer"
    assert first.attributes["rpc.response.status_code"] == "OK"
    assert second.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert not second.failed, "it was the client's fault"


async def test_probes_are_not_traced(site: KeyedSite, traced: Collector) -> None:
    async with site.door() as door:
        for path in ("/health/live", "/health/ready", "/v2/health/ready"):
            answer = await door.get(path, headers={"traceparent": PARENT})
            assert "traceresponse" not in answer.headers
            assert answer.headers["x-request-id"]
    assert await sent(traced) == []


async def test_traces_contain_no_user_data(site: KeyedSite, traced: Collector) -> None:
    """Prompts, keys, names, addresses, ids in paths, signed links: also not in refused requests."""
    made = await site.key(USER, "admin", name="wonderland")
    async with site.door(made.secret) as door:
        drawn = await door.post("/v1/images/generations", json={"prompt": PROMPT, "response_format": "url"})
        link = json.loads(drawn.content)["data"][0]["url"]
        assert "signature" in link
        await door.get(link)
        await door.get(f"/v1/results/{'9' * 32}?token=wonderland")
        await door.get("/nowhere/wonderland?q=wonderland")
        await door.post("/api/illustrations/generate", json={"prompt": PROMPT, "model": "wonderland"})
        await door.post("/api/illustrations/generate", json={"prompt": "zanzibar" * 5000})
        await door.post("/api/admin/users", json={"id": "wonderland"})
        files = {"image": ("wonderland.png", b"zanzibar", "image/png")}
        await door.post("/api/convert", files=files, headers={"user-agent": "wonderland", "tracestate": "w=wonderland"})
        await door.request("WONDERLAND", "/v1/jobs")
    async with site.door("atl_wonderland") as stranger:
        assert (await stranger.get("/v1/jobs")).status_code == 401
    assert len(await sent(traced)) > 5
    secrets = [
        "zanzibar", "apple", USER, "wonderland", "WONDERLAND", made.secret, CLIENT, "signature", link.split("/")[-1],
        "9999",
    ]  # fmt: skip
    assert [one for one in secrets if one.encode() in traced.raw] == []
