"""Permission for high priority, and slots reserved for it, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
from keyed_door import KeyedSite, calling, keyed_site
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from serve.api.middleware.admission import AdmissionSlots
from serve.errors import Overloaded
from serve.observability.request_context import Priority
from serve.state import State

DRAWN = {"prompt": "a fox", "steps": 1}
PATH = "/api/diffusion/generate"
HIGH = {"X-Priority": "high"}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as found:
        yield found


async def test_user_key_with_high_priority_is_forbidden(site: KeyedSite) -> None:
    ada, admin = await site.key("ada"), await site.key("root", role="admin")
    async with site.door(ada.secret) as door:
        answer = await door.post(PATH, json=DRAWN, headers=HIGH)
        assert (answer.status_code, answer.json()["field"]) == (403, "X-Priority")
        body = {"prompt": "a fox", "priority": 1}
        answer = await door.post("/v2/models/illustrate/generate", json=body)
        assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (403, "priority")
        for word in ("normal", "low"):
            assert (await door.post(PATH, json=DRAWN, headers={"X-Priority": word})).status_code == 200
    async with site.door(admin.secret) as door:
        assert (await door.post(PATH, json=DRAWN, headers=HIGH)).status_code == 200


async def test_user_key_with_high_priority_over_grpc_is_forbidden(site: KeyedSite) -> None:
    ada, admin = await site.key("ada"), await site.key("root", role="admin")
    by_metadata, by_parameter = (drawing(), [("x-priority", "high")]), (drawing(1), [])
    async with calling(site) as address, grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for field, (request, metadata) in (("X-Priority", by_metadata), ("priority", by_parameter)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(request, metadata=[("x-api-key", ada.secret), *metadata])
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert (caught.value.details() or "").partition(":")[0] == field
            assert (await stub.ModelInfer(request, metadata=[("x-api-key", admin.secret), *metadata])).outputs
        for word, level in (("normal", 2), ("low", 3)):
            metadata = [("x-api-key", ada.secret), ("x-priority", word)]
            assert (await stub.ModelInfer(drawing(level), metadata=metadata)).outputs


def drawing(priority: int | None = None) -> pb.ModelInferRequest:
    """Sets the parameter as `tritonclient` does."""
    request = pb.ModelInferRequest(model_name="illustrate")
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a fox")
    if priority is not None:
        request.parameters["priority"].uint64_param = priority
    return request


async def test_setting_allows_high_priority_for_everybody(state: State) -> None:
    async with keyed_site(state, gateway={"high_priority": "everybody"}) as site:
        ada = await site.key("ada")
        async with site.door(ada.secret) as door:
            assert (await door.post(PATH, json=DRAWN, headers=HIGH)).status_code == 200


def test_slots_are_reserved_for_higher_priorities() -> None:
    places = AdmissionSlots(10, 0.1)
    held = [places.taken(Priority.HIGH) for _ in range(8)]
    for one in held:
        one.__enter__()
    with pytest.raises(Overloaded), places.taken(Priority.LOW):
        pass
    with places.taken(Priority.NORMAL):
        with pytest.raises(Overloaded), places.taken(Priority.NORMAL):
            pass
        with places.taken(Priority.HIGH), pytest.raises(Overloaded), places.taken(Priority.HIGH):
            pass
