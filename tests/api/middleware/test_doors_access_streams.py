"""Keys of long-lived requests: server-sent events, WebSockets, and gRPC with its streams (B-083)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
import websockets
from keyed_door import ME, KeyedSite, calling, keyed_site, listening
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from serve.api.inference.grpc_calls import address_of
from serve.state import State

FOX: dict[str, Any] = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, access={"cache_s": 0.0}) as opened:
        yield opened


async def test_events_need_a_key_or_the_signed_url(site: KeyedSite) -> None:
    ada, bob = (await site.key("ada")).secret, (await site.key("bob")).secret
    async with listening(site) as address, site.door(ada) as door:
        job = (await door.post("/v1/jobs", json=FOX)).json()
        signed = job["events_url"].partition(":8000")[2]
        plain = signed.partition("?")[0]
        cases = [(plain, ada, 200), (signed, None, 200), (plain, None, 401), (plain, bob, 404), (signed, "atl_x", 200)]
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as client:
            for path, key, status in cases:
                headers = {"Accept": "text/event-stream"} | ({"Authorization": f"Bearer {key}"} if key else {})
                async with client.stream("GET", path, headers=headers) as answer:
                    assert answer.status_code == status, (path, key)
                    if status == 200:
                        assert "queued" in await anext(answer.aiter_text())


async def test_sockets_need_a_key_or_the_signed_url(site: KeyedSite) -> None:
    ada, bob = (await site.key("ada")).secret, (await site.key("bob")).secret
    async with listening(site) as address, site.door(ada) as door:
        job = (await door.post("/v1/jobs", json=FOX)).json()
        signed = f"ws://{address}{job['socket_url'].partition(':8000')[2]}"
        plain = signed.partition("?")[0]
        for url, key in ((signed, None), (plain, ada)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with websockets.connect(url, additional_headers=headers) as socket:
                assert '"queued"' in await socket.recv()
                await socket.send('{"type": "cancel"}')
                message = await socket.recv()
                assert ("problem" in message) is (key is None), "a signed URL is read-only"
        for headers in ({}, {"Authorization": "Bearer atl_wrong"}):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(plain, additional_headers=headers)
            assert refused.value.response.status_code == 401
        async with websockets.connect(plain, additional_headers={"Authorization": f"Bearer {bob}"}) as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4404


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


def tensor() -> triton.InferInput:
    found = triton.InferInput("x", [1, 4], "FP32")
    found.set_data_from_numpy(np.ones((1, 4), np.float32))
    return found


async def test_grpc_needs_a_key(site: KeyedSite) -> None:
    key, reader = (await site.key("ada")).secret, (await site.key("eve", "read-only")).secret
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [
            (stub.ServerMetadata, pb.ServerMetadataRequest(), False),
            (stub.ModelMetadata, pb.ModelMetadataRequest(name="plus_one"), False),
            (stub.ModelConfig, pb.ModelConfigRequest(name="plus_one"), False),
            (stub.ModelReady, pb.ModelReadyRequest(name="plus_one"), False),
            (stub.ModelStatistics, pb.ModelStatisticsRequest(), False),
            (stub.RepositoryIndex, pb.RepositoryIndexRequest(), False),
            (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="plus_one"), True),
        ]
        shown: list[Any] = [("authorization", f"Bearer {key}")]
        for method, request, changes in calls:
            for metadata in ([], [("authorization", "Bearer atl_no")], [("x-atelier-peer", "x 127.0.0.1")]):
                assert await code_of(method(request, metadata=metadata)) == grpc.StatusCode.UNAUTHENTICATED
            for metadata in (shown, [("x-api-key", key)]):
                assert await code_of(method(request, metadata=metadata)) == grpc.StatusCode.OK
            found = await code_of(method(request, metadata=[("x-api-key", reader)]))
            assert found == (grpc.StatusCode.PERMISSION_DENIED if changes else grpc.StatusCode.OK)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        infer = pb.ModelInferRequest(model_name="plus_one")
        assert await code_of(stub.ModelInfer(infer)) == grpc.StatusCode.UNAUTHENTICATED
        denied = await code_of(stub.ModelInfer(infer, metadata=[("x-api-key", reader)]))
        assert denied == grpc.StatusCode.PERMISSION_DENIED
        stream = stub.ModelStreamInfer(iter([infer]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(stream))
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_stock_client_sends_its_key(site: KeyedSite) -> None:
    made = await site.key("ada")
    async with calling(site) as address, triton.InferenceServerClient(address) as client:
        headers = {"authorization": f"Bearer {made.secret}"}
        answer = await client.infer("plus_one", [tensor()], headers=headers)
        assert answer is not None
        with pytest.raises(InferenceServerException, match="needs an API key"):
            await client.infer("plus_one", [tensor()])


async def test_revoked_key_ends_its_stream(site: KeyedSite) -> None:
    made = await site.key("ada")
    more = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield pb.ModelInferRequest(model_name="plus_one", id="1")
        await more.wait()
        yield pb.ModelInferRequest(model_name="plus_one", id="2")

    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = aiter(stub.ModelStreamInfer(requests(), metadata=[("x-api-key", made.secret)]))
        assert "tensors" in (await anext(stream)).error_message, "authenticated; the request itself is invalid"
        await site.entrance.gate.keys.revoke(made.key.id, ME)
        more.set()
        assert "revoked" in (await anext(stream)).error_message


async def test_grpc_rate_limit_by_user_and_cost(state: State) -> None:
    async with keyed_site(state, rates={"per_user": True, "user_requests": 8}) as site:
        key = (await site.key("ada")).secret
        async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = [("x-api-key", key)]
            draw = pb.ModelInferRequest(model_name="illustrate")  # costs 5 of 8
            assert await code_of(stub.ModelInfer(draw, metadata=metadata)) != grpc.StatusCode.RESOURCE_EXHAUSTED
            for _ in range(3):
                assert await code_of(stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata)) == (
                    grpc.StatusCode.OK
                )
            refused = await code_of(stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata))
            assert refused == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_grpc_refusals_have_retry_after(state: State) -> None:
    """Calls and whole streams have it in the trailing metadata, messages of a stream beside their code."""
    more = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        for _ in range(2):
            yield pb.ModelInferRequest(model_name="illustrate")  # costs 5 of 8
        await more.wait()

    rates = {"per_user": True, "user_requests": 8}
    async with keyed_site(state, rates=rates, gateway={"max_ongoing_requests": 1, "kept_share": 0}) as site:
        metadata = [("x-api-key", (await site.key("ada")).secret)]
        async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stream = stub.ModelStreamInfer(requests(), metadata=metadata)
            answers = [(await stream.read()).infer_response.parameters for _ in range(2)]
            bad, limited = sorted(answers, key=lambda parameters: parameters["grpc_status"].string_param)
            assert "retry_after" not in bad, "a retry of an invalid request would fail again"
            assert limited["retry_after"].int64_param > 0
            refused = stub.ModelStreamInfer(metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as full:
                await refused.read()
            more.set()
            with pytest.raises(grpc.aio.AioRpcError) as over:
                await stub.ModelInfer(pb.ModelInferRequest(model_name="illustrate"), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await stub.ModelMetadata(pb.ModelMetadataRequest(name="nothing"), metadata=metadata)
    trailing = {one.value.code().name: dict(one.value.trailing_metadata() or ()) for one in (full, over, unknown)}
    assert int(trailing["UNAVAILABLE"]["retry-after"]) == 1
    assert int(trailing["RESOURCE_EXHAUSTED"]["retry-after"]) > 1
    assert "retry-after" not in trailing["NOT_FOUND"]
    assert all(len(some["x-request-id"]) == 32 for some in trailing.values()), "other metadata is kept"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:4242", "127.0.0.1"), ("ipv6:%5B::1%5D:4242", "::1"), ("ipv6:[2001:db8::1]:42", "2001:db8::1"),
        ("unix:/tmp/x", ""), ("", ""),
    ],
)  # fmt: skip
def test_address_of_a_grpc_peer(peer: str, address: str) -> None:
    assert address_of(peer) == address


async def test_signed_url_with_a_foreign_key_is_read_only(site: KeyedSite) -> None:
    ada, bob = (await site.key("ada")).secret, (await site.key("bob")).secret
    async with listening(site) as address, site.door(ada) as door:
        job = (await door.post("/v1/jobs", json=FOX)).json()
        signed = f"ws://{address}{job['socket_url'].partition(':8000')[2]}"
        async with websockets.connect(signed, additional_headers={"X-API-Key": bob}) as socket:
            assert '"queued"' in await socket.recv()
            await socket.send('{"type": "cancel"}')
            assert "problem" in await socket.recv()
        assert (await door.get(f"/v1/jobs/{job['id']}")).json()["status"] == "pending"
        async with websockets.connect(signed, additional_headers={"X-API-Key": ada}) as socket:
            await socket.recv()
            await socket.send('{"type": "cancel"}')
            assert '"cancelled"' in await socket.recv()


async def test_revoked_key_ends_its_events_and_sockets(site: KeyedSite) -> None:
    made, other = await site.key("ada"), await site.key("ada")
    shown = {"X-API-Key": made.secret}
    async with listening(site) as address, site.door(other.secret) as door:
        job = (await door.post("/v1/jobs", json=FOX)).json()
        url = f"{address}/v1/jobs/{job['id']}"
        async with (
            websockets.connect(f"ws://{url}/ws", additional_headers=shown) as socket,
            httpx.AsyncClient(timeout=60) as client,
            client.stream("GET", f"http://{url}/events?stream=true", headers=shown) as stream,
        ):
            chunks = stream.aiter_text()
            assert '"queued"' in await socket.recv()
            assert "queued" in await anext(chunks)
            await site.entrance.gate.keys.revoke(made.key.id, ME)
            await socket.send('{"type": "cancel"}')
            assert "revoked" in await socket.recv()
            await door.post(f"/v1/jobs/{job['id']}/cancel")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
            rest = "".join([text async for text in chunks])
            assert "event: problem" in rest
            assert "cancelled" not in rest
