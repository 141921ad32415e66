"""The version of a request by the open inference protocol, over HTTP and gRPC: the same as by every other route."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
import pytest
from keyed_door import KeyedSite, calling, keyed_site
from pictures import drawn, encode
from replica_rows import write_rollout
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from two_versions import HALF, TRACER, UNET, Tracing, Versioned

from serve.releases.rollouts.site import Rollout
from serve.state import State

pytestmark = pytest.mark.usefixtures("seen_at_once")

PROMPT, X = "red apple, flat", {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}
TRACED_BY_HALF = Rollout(TRACER, "1", candidate="2", percentage=50)
USERS = [f"user-{i}" for i in range(6)]
"""Of either engine some have the candidate and some have not; not the same ones."""


@pytest.fixture
async def site(state: State, tracing: Tracing) -> AsyncIterator[KeyedSite]:
    await write_rollout(state, HALF)
    await write_rollout(state, TRACED_BY_HALF)
    async with keyed_site(state, Versioned(), tracing) as opened:
        yield opened


@pytest.fixture
async def open_site(state: State, tracing: Tracing) -> AsyncIterator[KeyedSite]:
    """A site without keys."""
    await write_rollout(state, HALF)
    await write_rollout(state, TRACED_BY_HALF)
    async with keyed_site(state, Versioned(), tracing, access={"required": "off"}) as opened:
        yield opened


@dataclass(frozen=True)
class Caller:
    """Calls both protocols as one user, and returns the version of the ensemble's engine that answered."""

    http: httpx.AsyncClient
    stub: Any
    metadata: Sequence[tuple[str, str]]

    async def infer(self, model: str, value: Any, version: str = "") -> str:
        body = {"inputs": [{"name": _input(model), "shape": [1], "datatype": "BYTES", "data": [_text(value)]}]}
        answer = await self.http.post(f"{_path(model, version)}/infer", json=body)
        return _version_of(answer, answer.json().get("parameters"))

    async def generate(self, model: str, value: Any, version: str = "") -> str:
        answer = await self.http.post(f"{_path(model, version)}/generate", json={_input(model): _text(value)})
        return _version_of(answer, answer.json())

    async def generate_stream(self, model: str, value: Any, version: str = "") -> str:
        path = f"{_path(model, version)}/generate_stream"
        answer = await self.http.post(path, json={_input(model): _text(value)})
        last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return _version_of(answer, json.loads(last[-1]) if last else None)

    async def model_infer(self, model: str, value: Any, version: str = "") -> str:
        try:
            answer = await self.stub.ModelInfer(_message(model, value, version), metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            raise RefusedError(error.code().name) from error
        return _version_in(answer.parameters["model_versions"].string_param)

    async def model_stream_infer(self, model: str, value: Any, version: str = "") -> str:
        stream = self.stub.ModelStreamInfer(iter([_message(model, value, version)]), metadata=self.metadata)
        (answer,) = [message async for message in stream]
        if answer.error_message:
            raise RefusedError(answer.infer_response.parameters["grpc_status"].string_param)
        return _version_in(answer.infer_response.parameters["model_versions"].string_param)


class RefusedError(Exception):
    """The status: a number over HTTP, a name over gRPC."""


WAYS = ("infer", "generate", "generate_stream", "model_infer", "model_stream_infer")
ways = pytest.mark.parametrize("way", WAYS)


def _path(model: str, version: str) -> str:
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "")


def _input(model: str) -> str:
    return "prompt" if model == "illustrate" else "image"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else base64.b64encode(value).decode()


def _message(model: str, value: str | bytes, version: str) -> Any:
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    message.inputs.add(name=_input(model), datatype="BYTES", shape=[1])
    message.inputs[0].contents.bytes_contents.append(value.encode() if isinstance(value, str) else value)
    return message


def _version_of(answer: httpx.Response, parameters: Any) -> str:
    if answer.status_code != 200:
        raise RefusedError(str(answer.status_code))
    return _version_in(parameters["model_versions"])


def _version_in(labels: str) -> str:
    (label,) = json.loads(labels).values()
    return str(label)


Opens = Callable[[KeyedSite, str | None], Awaitable[Caller]]


@pytest.fixture
async def opens() -> AsyncIterator[Opens]:
    async with contextlib.AsyncExitStack() as closing:

        async def open_as(site: KeyedSite, user: str | None) -> Caller:
            secret = (await site.key(user)).secret if user is not None else None
            http = await closing.enter_async_context(site.door(secret))
            channel = grpc.aio.insecure_channel(await closing.enter_async_context(calling(site)))
            stub = service_pb2_grpc.GRPCInferenceServiceStub(await closing.enter_async_context(channel))
            return Caller(http, stub, [("authorization", f"Bearer {secret}")] if secret else [])

        yield open_as


async def by_other_routes(caller: Caller, model: str, value: Any) -> str:
    """By OpenAI's route and the native one."""
    if model == "illustrate":
        answer = await caller.http.post("/v1/images/generations", json={"prompt": value, "model": "mini"})
        return str(answer.json()["atelier"]["model_versions"][UNET])
    answer = await caller.http.post("/api/convert-ai", files={"image": ("a.png", value, "image/png")})
    return str(answer.json()["model_info"]["versions"][TRACER])


def values(count: int) -> dict[str, Sequence[Any]]:
    """For each model ``count`` different requests."""
    return {
        "illustrate": [f"fox {i}" for i in range(count)],
        "vectorize": [encode(drawn(size=24 + 2 * i)) for i in range(count)],
    }


@ways
@pytest.mark.parametrize("model", ["illustrate", "vectorize"])
async def test_user_has_the_same_version_as_by_other_routes(
    site: KeyedSite, opens: Opens, model: str, way: str
) -> None:
    """D-083: for every request of the user, by every route."""
    rollout = HALF if model == "illustrate" else TRACED_BY_HALF
    assert {rollout.version_for(user) for user in USERS} == {"1", "2"}
    for user in USERS:
        caller = await opens(site, user)
        found = {await getattr(caller, way)(model, value) for value in values(2)[model]}
        assert (
            found == {f"{rollout.version_for(user)}.0"} == {await by_other_routes(caller, model, values(1)[model][0])}
        )


@ways
@pytest.mark.parametrize("model", ["illustrate", "vectorize"])
async def test_same_anonymous_request_has_one_version(open_site: KeyedSite, opens: Opens, model: str, way: str) -> None:
    caller, requests = await opens(open_site, None), values(12)[model]
    found = [await getattr(caller, way)(model, value) for value in requests]
    assert set(found) == {"1.0", "2.0"}
    assert [await getattr(caller, way)(model, value) for value in requests] == found


async def test_same_anonymous_request_has_the_same_version_by_other_routes(open_site: KeyedSite, opens: Opens) -> None:
    caller = await opens(open_site, None)
    for value in values(8)["vectorize"]:
        assert await caller.model_infer("vectorize", value) == await by_other_routes(caller, "vectorize", value)


@ways
async def test_new_decision_is_followed(state: State, site: KeyedSite, opens: Opens, way: str) -> None:
    caller = await opens(site, next(user for user in USERS if HALF.version_for(user) == "2"))
    assert await getattr(caller, way)("illustrate", PROMPT) == "2.0"
    await write_rollout(state, Rollout(UNET, "1", candidate="2"))
    assert await getattr(caller, way)("illustrate", PROMPT) == "1.0"
    await write_rollout(state, Rollout(UNET, "2", previous="1"))
    assert await getattr(caller, way)("illustrate", PROMPT) == "2.0"


@ways
@pytest.mark.parametrize("model", ["illustrate", "vectorize"])
async def test_ensemble_has_one_version_itself(site: KeyedSite, opens: Opens, model: str, way: str) -> None:
    """Version 1 of the ensemble follows the split of its engines; another version is not found."""
    rollout = HALF if model == "illustrate" else TRACED_BY_HALF
    caller = await opens(site, next(user for user in USERS if rollout.version_for(user) == "2"))
    assert await getattr(caller, way)(model, values(1)[model][0], "1") == "2.0"
    with pytest.raises(RefusedError, match=r"404|NOT_FOUND"):
        await getattr(caller, way)(model, values(1)[model][0], "2")


async def test_engine_is_run_in_the_named_version(site: KeyedSite, opens: Opens, tracing: Tracing) -> None:
    """By the engine's own name; without a version in the current one, for every user."""
    caller = await opens(site, next(user for user in USERS if TRACED_BY_HALF.version_for(user) == "2"))
    path = f"/v2/models/{TRACER}"
    for address, version in ((path, "1"), (f"{path}/versions/1", "1"), (f"{path}/versions/2", "2")):
        answer = await caller.http.post(f"{address}/infer", json={"inputs": [X]})
        assert (answer.json()["model_version"], "parameters" in answer.json()) == (version, False)
    refused = await caller.http.post(f"{path}/versions/3/infer", json={"inputs": [X]})
    assert (refused.status_code, refused.json()) == (404, {"error": "the model plus_one has no version '3'"})
    for named, version in (("", "1"), ("1", "1"), ("2", "2")):
        message = pb.ModelInferRequest(model_name=TRACER, model_version=named)
        message.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([1, 2, 3, 4])
        assert (await caller.stub.ModelInfer(message, metadata=caller.metadata)).model_version == version
    message.model_version = "3"
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await caller.stub.ModelInfer(message, metadata=caller.metadata)
    assert found.value.code() is grpc.StatusCode.NOT_FOUND
    assert tracing.requested == ["1", "1", "2"] * 2
