"""Metrics of the HTTP and gRPC servers: requests sent here appear in the counters."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc.aio
import httpx
import pytest
import sqlalchemy as sa
from keyed_door import KeyedSite, calling, keyed_site
from pictures import drawn as picture
from pictures import encode
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_calls import observed
from serve.api.inference.models import Models
from serve.api.middleware.request_metrics import LATE
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.errors import DeadlineExceeded
from serve.jobs.worker.site import update_site_metrics
from serve.observability.dashboards.boards import FAILED
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Counter, Gauge
from serve.state import State
from serve.state.tables import measurements, utc_now

PRICES = {"cpu_hour": 3600.0, "gpu_hour": 7200.0, "currency": "USD"}
PROMPT = {"prompt": "a red apple", "seed": 7, "model": "mini"}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, prices=PRICES) as opened:
        yield opened


@contextlib.contextmanager
def counts(metric: Counter | Gauge, *labels: str) -> Any:
    """A list that receives the counter's increase within the block; read it after the block."""
    before, found = metric.value(*labels), []
    yield found
    found.append(metric.value(*labels) - before)


async def drawn(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    answer = await client.post("/v1/images/generations", json={**PROMPT, **more})
    assert answer.status_code == 200, answer.text
    return answer


async def test_requests_are_counted_by_route_and_status(site: KeyedSite) -> None:
    route = "/v1/jobs/{job_id}"
    timed = catalogue.REQUEST_SECONDS.count("http", route)
    async with site.door((await site.key("ada")).secret) as ada:
        with counts(catalogue.REQUESTS, "http", route, "404") as found:
            for number in range(3):
                assert (await ada.get(f"/v1/jobs/made-up-{number}")).status_code == 404
    assert found == [3], "and no path of a client's became a label"
    assert catalogue.REQUEST_SECONDS.count("http", route) == timed + 3
    assert catalogue.REQUESTS_IN_PROGRESS.value("http") == 0


async def test_unknown_paths_share_one_series(site: KeyedSite) -> None:
    async with site.door((await site.key("ada")).secret) as ada:
        with counts(catalogue.REQUESTS, "http", "unrouted", "404") as found:
            await ada.get("/never/heard/of/it")
            await ada.get("/nor/of/that")
    assert found == [2]


async def test_refusals_are_counted_by_reason(site: KeyedSite) -> None:
    with counts(catalogue.REFUSALS, "http", "Unauthorized") as found:
        async with site.door("atl_wrong") as anonymous:
            assert (await anonymous.get("/v1/me")).status_code == 401
    assert found == [1]


async def test_rate_limits_are_counted_by_kind(state: State) -> None:
    rates = {"per_user": True, "user_requests": 1}
    async with keyed_site(state, rates=rates) as site, site.door((await site.key("ada")).secret) as ada:
        with counts(catalogue.RATE_LIMITED, "user") as found:
            assert [(await ada.get("/v1/me")).status_code for _ in range(3)] == [200, 429, 429]
    assert found == [2]


async def test_grpc_calls_are_counted_by_method_and_code(site: KeyedSite) -> None:
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with counts(catalogue.REQUESTS, "grpc", "ServerLive", "OK") as probed:
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        with (
            counts(catalogue.REQUESTS, "grpc", "ModelInfer", "UNAUTHENTICATED") as refused,
            pytest.raises(grpc.aio.AioRpcError),
        ):
            await stub.ModelInfer(pb.ModelInferRequest(model_name="plus_one"))
        metadata = (("authorization", f"Bearer {(await site.key('ada')).secret}"),)
        with counts(catalogue.REQUESTS, "grpc", "ServerMetadata", "OK") as answered:
            await stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata)
    assert (probed, refused, answered) == ([0], [1], [1])


async def test_probes_are_not_counted_as_requests(site: KeyedSite) -> None:
    before = sum(sample.value for sample in catalogue.REQUESTS.samples())
    async with site.door() as anonymous:
        for path in ("/health/live", "/health/ready", "/v2/health/live"):
            assert (await anonymous.get(path)).status_code == 200
    assert sum(sample.value for sample in catalogue.REQUESTS.samples()) == before


async def test_deadline_of_the_client_is_no_server_error(site: KeyedSite) -> None:
    route = "/v1/images/generations"
    site.illustrator.step_s = 5.0
    async with site.door((await site.key("ada")).secret) as ada:
        with (
            counts(catalogue.REQUESTS, "http", route, LATE) as late,
            counts(catalogue.REQUESTS, "http", route, "504") as failed,
        ):
            answer = await ada.post(route, json=PROMPT, headers={"X-Request-Timeout": "0.05"})
    assert (answer.status_code, late, failed) == (504, [1], [0])


async def test_deadline_of_the_site_is_a_server_error(site: KeyedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_slow(_: Any) -> Any:
        raise DeadlineExceeded("there was not enough time to finish")

    monkeypatch.setattr(site.illustrator, "draw", too_slow)
    route = "/v1/images/generations"
    async with site.door((await site.key("ada")).secret) as ada:
        with counts(catalogue.REQUESTS, "http", route, "504") as failed:
            answer = await ada.post(route, json=PROMPT, headers={"X-Request-Timeout": "60"})
    assert (answer.status_code, failed) == (504, [1])


async def test_timeout_parameter_of_open_inference_is_a_client_deadline(
    site: KeyedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: Any) -> Any:
        await asyncio.sleep(0.01)
        raise DeadlineExceeded("there was not enough time to finish")

    monkeypatch.setattr(Models, "infer", slow)
    metadata = (("authorization", f"Bearer {(await site.key('ada')).secret}"),)
    request = pb.ModelInferRequest(model_name="vectorize")
    request.parameters["timeout"].int64_param = 1000
    image = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    image.contents.bytes_contents.append(b"picture")
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with (
            counts(catalogue.REQUESTS, "grpc", "ModelInfer", LATE) as late,
            pytest.raises(grpc.aio.AioRpcError) as caught,
        ):
            await stub.ModelInfer(request, metadata=metadata)
    assert (caught.value.code(), late) == (grpc.StatusCode.DEADLINE_EXCEEDED, [1])


async def test_stream_ended_by_a_bug_counts_as_failed(site: KeyedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(OpenInferenceServicer, "_jobs", bug)
    metadata = (("authorization", f"Bearer {(await site.key('ada')).secret}"),)
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with counts(catalogue.REQUESTS, "grpc", "ModelStreamInfer", "INTERNAL") as failed:
            call = stub.ModelStreamInfer(metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
    assert (caught.value.code(), failed) == (grpc.StatusCode.INTERNAL, [1])
    assert "a bug" not in str(caught.value.details())


class Call:
    def invocation_metadata(self) -> tuple[()]:
        return ()

    def set_trailing_metadata(self, _: Any) -> None:
        pass

    def code(self) -> None:
        return None


def test_uncaught_error_is_counted_with_the_code_that_grpc_returns() -> None:
    with (
        counts(catalogue.REQUESTS, "grpc", "ModelStreamInfer", "UNKNOWN") as failed,
        pytest.raises(RuntimeError),
        observed("inference.Service", "ModelStreamInfer", Call(), True),
    ):
        raise RuntimeError("a bug")
    assert failed == [1]


def test_statuses_that_count_as_server_errors() -> None:
    pattern = re.search(r'status=~"(.+)"', FAILED)
    assert pattern is not None
    faults, others = ("500", "503", "504", "UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"), (
        "200", "101", "404", "422", "429", "499", "501", "507", LATE, "OK", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED",
    )  # fmt: skip
    assert all(re.fullmatch(pattern[1], status) for status in faults)
    assert not any(re.fullmatch(pattern[1], status) for status in others)


async def test_downloads_are_counted(site: KeyedSite) -> None:
    async with site.door((await site.key("ada")).secret) as ada:
        url = (await drawn(ada, response_format="url")).json()["data"][0]["url"]
        with counts(catalogue.DOWNLOADS, "result") as whole, counts(catalogue.DOWNLOADS, "thumbnail") as small:
            assert (await ada.get(url)).status_code == 200
            assert (await ada.get(f"{url.partition('?')[0]}/thumbnail")).status_code == 200
    assert (whole, small) == ([1], [1])


async def test_serving_provider_is_counted(site: KeyedSite) -> None:
    assert catalogue.BREAKER_OPEN.value("illustrate") in (0.0, 0.5, 1.0)
    async with site.door((await site.key("ada")).secret) as ada:
        with counts(catalogue.CACHE_LOOKUPS, "hit") as hits:
            await drawn(ada)
            await drawn(ada)
    assert hits == [1]


async def test_users_are_counted_without_their_names(site: KeyedSite) -> None:
    for name, times in (("ada", 3), ("bob", 1)):
        async with site.door((await site.key(name)).secret) as client:
            for seed in range(times):
                await drawn(client, seed=seed)
    await update_site_metrics(site.state.database)
    assert catalogue.ACTIVE_USERS.value() == 2
    assert (catalogue.USER_REQUESTS.count(), catalogue.USER_REQUESTS.sum()) == (2, 4)
    assert catalogue.JOBS.value("illustrate", "pending") == 0
    labels = {value for sample in catalogue.samples() for value in sample.labels.values()}
    assert not labels & {"ada", "bob"}


@pytest.fixture
def costly(site: KeyedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture costs two processor seconds and one GPU second, every tracing half a processor second."""
    draw, vectorize = site.illustrator.draw, site.app.state.service.vectorize

    async def drawn_dearly(options: Any) -> Any:
        return dataclasses.replace(await draw(options), cost={"cpu_seconds": 2.0, "gpu_seconds": 1.0})

    async def traced_dearly(data: bytes, options: VectorizeOptions) -> Vectorization:
        return dataclasses.replace(await vectorize(data, options), cost={"cpu_seconds": 0.5, "gpu_seconds": 0.0})

    monkeypatch.setattr(site.illustrator, "draw", drawn_dearly)
    monkeypatch.setattr(site.app.state.service, "vectorize", traced_dearly)


@pytest.mark.usefixtures("costly")
async def test_costs_add_up_by_user_model_and_day(site: KeyedSite) -> None:
    async with site.door((await site.key("ada")).secret) as ada, site.door((await site.key("bob")).secret) as bob:
        await drawn(ada)
        await drawn(ada)  # a cache hit costs nothing
        await drawn(bob, seed=8)
        answer = await bob.post("/api/convert-ai", files={"image": encode(picture())})
        assert answer.json()["ai_metadata"]["cost"] == {"cpu_seconds": 0.5, "gpu_seconds": 0.0}
        own = (await bob.get("/v1/me/costs")).json()
        assert (own["requests"], own["cpu_seconds"], own["gpu_seconds"]) == (2, 2.5, 1.0)
        assert (own["money"], own["currency"]) == (4.5, "USD")
        assert (await bob.get("/api/admin/costs")).status_code == 403
    async with site.door((await site.key("prometheus", "admin", scopes=["metrics"])).secret) as metrics:
        for by, status in (("user", 403), ("model", 200), ("day", 200)):
            answer = await metrics.get("/api/admin/costs", params={"by": by})
            assert answer.status_code == status
            assert "bob" not in answer.text
        assert (await metrics.get("/api/admin/costs")).status_code == 403
    async with site.door((await site.key("root", "admin")).secret) as admin:

        async def rows(by: str) -> dict[str | None, tuple[float, float]]:
            found = (await admin.get("/api/admin/costs", params={"by": by})).json()["costs"]
            return {row["of"]: (row["cpu_seconds"], row["gpu_seconds"]) for row in found}

        assert await rows("user") == {"bob": (2.5, 1.0), "ada": (2.0, 1.0)}
        assert await rows("model") == {"mini": (4.0, 2.0), None: (0.5, 0.0)}
        assert await rows("day") == {utc_now().date().isoformat(): (4.5, 2.0)}
        later = (utc_now() + timedelta(hours=1)).isoformat()
        assert (await admin.get("/api/admin/costs", params={"since": later})).json()["costs"] == []
        assert (await admin.get("/api/admin/costs", params={"by": "key"})).status_code == 400


@pytest.mark.usefixtures("costly")
async def test_open_inference_costs_the_same_as_other_routes(site: KeyedSite) -> None:
    async with site.door((await site.key("ada")).secret) as ada:
        image = {
            "name": "image",
            "shape": [1],
            "datatype": "BYTES",
            "data": [base64.b64encode(encode(picture())).decode()],
        }
        assert (await ada.post("/v2/models/vectorize/infer", json={"inputs": [image]})).status_code == 200
        body = {"prompt": "a red apple", "model": "mini"}
        assert (await ada.post("/v2/models/illustrate/generate", json=body)).status_code == 200
        own = (await ada.get("/v1/me/costs")).json()
        assert (own["requests"], own["cpu_seconds"], own["gpu_seconds"]) == (2, 2.5, 1.0)
    bob = await site.key("bob")
    request = pb.ModelInferRequest(model_name="vectorize")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(encode(picture()))
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = (("authorization", f"Bearer {bob.secret}"),)
        await stub.ModelInfer(request, metadata=metadata)
        call = stub.ModelStreamInfer(iter([request]), metadata=metadata)
        assert [bool(answer.error_message) async for answer in call] == [False]
    async with site.door(bob.secret) as client:
        own = (await client.get("/v1/me/costs")).json()
        assert (own["requests"], own["cpu_seconds"]) == (2, 1.0)


@pytest.mark.usefixtures("costly")
async def test_joined_or_repeated_request_costs_nothing(site: KeyedSite) -> None:
    site.app.state.service.delay_s = 1.5
    async with site.door((await site.key("ada")).secret) as ada:

        async def converted(**headers: str) -> dict[str, Any]:
            answer = await ada.post("/api/convert-ai", files={"image": encode(picture())}, headers=headers)
            assert answer.status_code == 200, answer.text
            metadata: dict[str, Any] = answer.json()["ai_metadata"]
            return metadata

        once = await asyncio.gather(*(converted() for _ in range(3)))
        assert sorted("cost" in metadata for metadata in once) == [False, False, True]
        first, again = [await converted(**{"Idempotency-Key": "k", "Cache-Control": "no-cache"}) for _ in range(2)]
        assert first["generation_id"] == again["generation_id"]
        assert "cost" in first
        assert "cost" not in again
        assert (await ada.get("/v1/me/costs")).json()["cpu_seconds"] == 1.0


@pytest.mark.usefixtures("costly")
async def test_drawing_costs_its_picture_and_its_tracing(site: KeyedSite) -> None:
    async with site.door((await site.key("ada")).secret) as ada:
        await drawn(ada, output_format="svg")
    async with site.state.database.read() as connection:
        row = (await connection.execute(sa.select(measurements.c.cpu_seconds, measurements.c.gpu_seconds))).one()
    assert tuple(row) == (2.5, 1.0)


async def test_costs_without_keys_have_no_user(state: State) -> None:
    async with keyed_site(state, access={"required": "off"}) as site:
        async with site.door((await site.key("ada@example.org")).secret) as ada:
            await drawn(ada)
        async with site.door(peer="127.0.0.1") as anonymous:
            assert (await anonymous.get("/api/admin/costs?by=user")).status_code == 403
            assert (await anonymous.get("/api/admin/costs?by=model")).status_code == 200
