"""``EngineClient``: the only inference client. Numpy arrays in and out, to one Triton."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serve.engines import tensors, triton_errors
from serve.engines.calls_in_flight import CallsInFlight
from serve.engines.grpc_options import channel_options
from serve.engines.streaming import stream_infer
from serve.engines.tensors import Region, RegionPool
from serve.engines.triton_http import Answer, TritonHttp
from serve.engines.warmup_inputs import warmup_inputs
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Unsupported,
)
from serve.observability import request_context, tracing

LOGGER = logging.getLogger(__name__)

MAX_IN_FLIGHT = 256
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
SHARED_MEMORY_MIN_BYTES = 64 * 1024
SHARED_MEMORY_MAX_BYTES = 128 * 1024 * 1024
MAX_ABANDONED_S = 60.0
"""How much longer than its caller waits a call may run in Triton."""
_RPC = {"rpc__system__name": "grpc", "rpc__method": "inference.GRPCInferenceService/ModelInfer"}
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class EngineClient:
    """Client of the Triton at ``url`` (``host:port`` of its gRPC endpoint), for one event loop.

    ``timeout_s`` applies to calls without their own. An engine with ``max_in_flight`` inferences in flight refuses more
    (Triton's own queue limit causes stalls of 0.5 s). Inputs of at least ``shared_memory_min_bytes`` use shared memory,
    up to ``shared_memory_max_bytes`` in total (0: never), if Triton runs on this machine and can open it.
    ``on_unavailable`` is called with the engine's name when a call finds the engine gone, so that the supervisor need
    not wait for its next probe; the supervisor restarts Triton when ``restart_reason`` is set.

    All methods raise errors of ``serve.errors``: NotFound (no such engine), InvalidRequest (a tensor's name, type or
    shape; see ``field``), TooLarge, DeadlineExceeded, Overloaded (queue full), EngineUnavailable (unreachable, or its
    process is gone), EngineFailure. A cancelled task ends at once; its request runs to completion in Triton and counts
    as in flight until then.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        shared_memory_min_bytes: int = SHARED_MEMORY_MIN_BYTES,
        shared_memory_max_bytes: int = SHARED_MEMORY_MAX_BYTES,
        on_unavailable: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._calls = CallsInFlight(max_in_flight)
        self._succeeded: Counter[str] = Counter()
        self._max_message_bytes = max_message_bytes
        self._shared_memory_min_bytes = shared_memory_min_bytes
        self._shared_memory_max_bytes = shared_memory_max_bytes
        self.on_unavailable = on_unavailable
        self.on_stub_lost: Callable[[str], None] | None = None
        """Called with the engine when Triton reports that it gave up the engine's Python stub, before any caller gets
        the result. The receiver restarts Triton and sets ``restart_reason``."""
        self.on_inference: Callable[[str, Mapping[str, NDArray[Any]]], None] | None = None
        """Called with the engine and its inputs after each successful inference."""
        self._channel: grpc.aio.Channel | None = None
        self._connection: Any = None
        self._regions: RegionPool | None = None
        self._configs: dict[str, dict[str, Any]] = {}
        self.restart_reason: str | None = None
        """Why calls are refused until the next `connect`: Triton is being restarted. None: normal operation."""
        self.serving_mark = ""
        """Of a Triton that another process supervises: a file that exists while its answers may be used."""
        self._http: TritonHttp | None = None

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Run ``engine`` on ``inputs``, arrays by name including the batch axis. Returns all outputs, or ``outputs``.

        Without ``version`` Triton uses the highest loaded one. The returned arrays are read-only views of the message.
        """
        ends_at = request_context.current().until(self._timeout_s if timeout_s is None else timeout_s)
        _time_left(ends_at, engine)
        with self._calls.counted(engine, inputs):
            self.check_restarting(engine)
            result = await self._infer_over_http(engine, inputs, outputs, version, ends_at)
            if result is None:
                tracing.note(**_RPC)
                request = partial(tensors.request, engine, inputs, outputs, version)
                response = await self._infer(engine, inputs, request, _time_left(ends_at, engine))
                self.check_restarting(engine)
                result = tensors.arrays(response)
        self._succeeded[engine] += 1
        if self.on_inference is not None:
            self.on_inference(engine, inputs)
        return result

    def use_http(self, address: str, key: str = "") -> None:
        """Send small inferences, with ``key``, to the HTTP endpoint ``address`` (host:port) of the same Triton."""
        self._http = TritonHttp(address, self._report_failure, self._max_message_bytes, key)

    def retire(self) -> None:
        """Stop using HTTP; its connections are closed once they are free."""
        if self._http is not None:
            self._http.retire()

    @property
    def connection(self) -> Any:
        """The stub of Triton's gRPC service."""
        return self._connect()

    def succeeded(self, engine: str) -> int:
        """Number of successful inferences, probes among them."""
        return self._succeeded[engine]

    def is_working(self, engine: str) -> bool:
        """Whether an inference is in flight, also one whose caller has stopped waiting."""
        return self._calls.is_working(engine)

    def check_restarting(self, engine: str) -> None:
        """Raises EngineUnavailable while Triton is being restarted."""
        if self.restart_reason is not None or (self.serving_mark and not os.path.exists(self.serving_mark)):
            raise EngineUnavailable(f"engine '{engine}' is being restarted")

    async def probe(self, engine: str, *, timeout_s: float | None = None, version: str = "") -> dict[str, NDArray[Any]]:
        """One real inference on zeros of the configured shape (or that of ``model_warmup``). Raises if it fails."""
        if engine not in self._configs:
            self._configs[engine] = await self.config(engine)
        config = self._configs[engine]
        if not (config.get("model_transaction_policy") or {}).get("decoupled"):
            return await self.infer(engine, warmup_inputs(config), timeout_s=timeout_s, version=version)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        found: dict[str, NDArray[Any]] = {}
        async for response in stream_infer(self, engine, warmup_inputs(config), timeout_s=limit_s, version=version):
            found |= response
        self._succeeded[engine] += 1
        return found

    async def load(self, engine: str, *, timeout_s: float) -> None:
        """Make Triton reload the folder of ``engine``. Versions that are loaded and stay keep serving meanwhile.

        Raises InvalidRequest with Triton's reason if a version cannot be loaded; then nothing has changed.
        """
        self.check_restarting(engine)
        request = service_pb2.RepositoryModelLoadRequest(model_name=engine)
        await self._call("RepositoryModelLoad", request, engine, timeout_s)

    async def live(self, *, timeout_s: float) -> None:
        """Raises unless the server reports liveness within ``timeout_s``. This says nothing about its engines."""
        await self._call("ServerLive", service_pb2.ServerLiveRequest(), "", timeout_s)

    async def metadata(self, engine: str) -> dict[str, Any]:
        """Name, versions, platform and tensors of ``engine``."""
        request = service_pb2.ModelMetadataRequest(name=engine)
        return tensors.to_json(await self._call("ModelMetadata", request, engine))

    async def config(self, engine: str) -> dict[str, Any]:
        """The ``config.pbtxt`` of ``engine``, with Triton's defaults filled in."""
        request = service_pb2.ModelConfigRequest(name=engine)
        return tensors.to_json((await self._call("ModelConfig", request, engine)).config)

    async def statistics(self, engine: str) -> dict[str, Any]:
        """Counts and times (ns) of ``engine``: one entry of ``model_stats`` per version."""
        request = service_pb2.ModelStatisticsRequest(name=engine)
        return tensors.to_json(await self._call("ModelStatistics", request, engine))

    async def engines(self) -> list[str]:
        """Names of the loaded engines."""
        request = service_pb2.RepositoryIndexRequest(ready=True)
        index = await self._call("RepositoryIndex", request, "")
        return sorted({model.name for model in index.models})

    async def connect(self, url: str) -> None:
        """Use the Triton at ``url`` from now on."""
        self.url = url  # first: a call made during `close` must not reconnect to the old one
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        # Swap all state before the first await: a concurrent call finds either the old connection complete or a new
        # one.
        regions, self._regions = self._regions, None
        channel, self._channel, self._connection = self._channel, None, None
        http, self._http = self._http, None
        if http is not None:
            http.close()
        self._configs.clear()
        self.restart_reason = None
        if regions is not None:
            with contextlib.suppress(AtelierError, triton_errors.RegionLost):  # a Triton that is gone has unmapped them
                await regions.close()
        if channel is not None:
            await channel.close()

    async def _call(
        self, method: str, request: Any, engine: str, timeout_s: float | None = None, *, connection: Any = None
    ) -> Any:
        connection = connection or self._connect()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        metadata = tracing.metadata() if method == "ModelInfer" else None
        rpc = getattr(connection, method)(request, timeout=limit_s + MAX_ABANDONED_S, metadata=metadata)
        call = asyncio.ensure_future(rpc)
        if method == "ModelInfer":
            call.add_done_callback(partial(self._report_lost_stub, engine, connection))
        try:
            return await self._calls.response(call, engine, limit_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connection is self._connection or (task is not None and task.cancelling()):
                raise
            raise EngineUnavailable(f"the connection to engine '{engine}' was closed") from None
        except grpc.aio.AioRpcError as error:
            mapped = triton_errors.from_grpc(error, engine)
            self._report_unavailable(engine, mapped)
            raise mapped from error

    def _report_unavailable(self, engine: str, error: Exception) -> None:
        if isinstance(error, EngineUnavailable) and self.on_unavailable is not None:
            self.on_unavailable(engine)

    def _report_lost_stub(self, engine: str, connection: Any, call: asyncio.Future[Any]) -> None:
        """Report a lost stub before the caller gets the result, even if the caller is gone: the next response may
        belong to this call."""
        error = None if call.cancelled() else call.exception()
        stub_lost = isinstance(error, grpc.aio.AioRpcError) and triton_errors.is_stub_lost(error)
        if stub_lost and connection is self._connection and self.on_stub_lost is not None:
            self.on_stub_lost(engine)

    async def _infer_over_http(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None,
        version: str,
        ends_at: float,
    ) -> dict[str, NDArray[Any]] | None:
        """The outputs; None if gRPC has to be used: for large inputs, and when the connection or its answer failed."""
        http = self._http
        if http is None or http.retired:
            return None
        if sum(array.nbytes for array in inputs.values()) >= self._shared_memory_min_bytes:
            return None
        limit_s = _time_left(ends_at, engine)
        try:
            call = await http.send(engine, inputs, outputs, version, connect_s=limit_s, max_s=limit_s + MAX_ABANDONED_S)
            answer: Answer = await self._calls.response(call, engine, max(0.0, ends_at - time.monotonic()))
        except OSError as error:
            if http is not self._http:
                raise EngineUnavailable(f"the connection to engine '{engine}' was closed") from error
            return None
        self.check_restarting(engine)
        if answer.status == 200:
            return answer.arrays(engine)
        failure = triton_errors.from_http(answer.status, answer.body, engine)
        if failure is not None:
            self._report_unavailable(engine, failure)
            raise failure
        return None

    def _report_failure(self, engine: str, text: str) -> None:
        if triton_errors.says_stub_lost(text) and self.on_stub_lost is not None:
            self.on_stub_lost(engine)

    async def _infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], build_request: Callable[[], Any], timeout_s: float
    ) -> Any:
        request = build_request()
        if self._is_large(inputs) and (regions := self._regions) is not None:
            try:
                region = await self._acquire_region(regions, inputs)
                if region is not None:
                    return await self._infer_shared(request, inputs, regions, region, engine, timeout_s)
            except triton_errors.RegionLost:
                # Triton was restarted and knows none of our regions. The first call that notices creates the new pool.
                if self._regions is regions:
                    self._regions = self._pool(self._connect())
                request = build_request()
        request.raw_input_contents.extend(tensors.encode(array) for array in inputs.values())
        return await self._call("ModelInfer", request, engine, timeout_s)

    def _connect(self) -> Any:
        if self._connection is None:
            # Not in the constructor: a channel belongs to the running event loop.
            self._channel = grpc.aio.insecure_channel(self.url, options=channel_options(self._max_message_bytes))
            self._connection = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            self._regions = self._pool(self._connection)
        return self._connection

    def _pool(self, connection: Any) -> RegionPool | None:
        """Shared memory regions registered with the Triton of ``connection``."""
        if not self._shared_memory_max_bytes or self.url.rpartition(":")[0] not in LOOPBACK_HOSTS:
            return None
        return RegionPool(
            self._shared_memory_max_bytes, partial(self._register, connection), partial(self._unregister, connection)
        )

    def _is_large(self, inputs: Mapping[str, NDArray[Any]]) -> bool:
        self._connect()
        plain = all(array.dtype.kind not in "OSU" for array in inputs.values())
        return plain and sum(array.nbytes for array in inputs.values()) >= self._shared_memory_min_bytes

    async def _acquire_region(self, regions: RegionPool, inputs: Mapping[str, NDArray[Any]]) -> Region | None:
        try:
            return await regions.acquire(inputs)
        except (InvalidRequest, NotFound, Unsupported, EngineFailure, triton_errors.RegionLost) as error:
            LOGGER.warning("Triton cannot see this process's shared memory, tensors go in messages: %s", error)
            if self._regions is regions:
                self._regions = None
            return None

    async def _infer_shared(
        self,
        request: Any,
        inputs: Mapping[str, NDArray[Any]],
        regions: RegionPool,
        region: Region,
        engine: str,
        timeout_s: float,
    ) -> Any:
        abandoned = False
        try:
            region.fill(request, inputs)
            return await self._call("ModelInfer", request, engine, timeout_s)
        except (asyncio.CancelledError, DeadlineExceeded):
            abandoned = True
            raise
        finally:
            regions.release(region, abandoned=abandoned)

    async def _register(self, connection: Any, name: str, key: str, byte_size: int) -> None:
        request = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=key, byte_size=byte_size)
        await self._call("SystemSharedMemoryRegister", request, "", connection=connection)

    async def _unregister(self, connection: Any, name: str) -> None:
        request = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        await self._call("SystemSharedMemoryUnregister", request, "", connection=connection)


def _time_left(ends_at: float, engine: str) -> float:
    """Seconds until ``ends_at`` (``time.monotonic``). Raises DeadlineExceeded if there are none."""
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceeded(f"no time was left for engine '{engine}'")
    return left_s
