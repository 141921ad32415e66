"""``EngineClient``: the only inference client. Numpy arrays in and out, over gRPC to one Triton."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serve.engines import tensors, triton_errors
from serve.engines.grpc_options import DIRECT, RECONNECT
from serve.engines.shared_memory import Region, RegionPool
from serve.engines.v2_json import to_json
from serve.engines.warmup_inputs import warmup_inputs
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unsupported,
)
from serve.observability import request_context, tracing
from serve.observability.metrics import catalogue

LOGGER = logging.getLogger(__name__)

MAX_IN_FLIGHT = 256
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
SHARED_MEMORY_MIN_BYTES = 64 * 1024
SHARED_MEMORY_MAX_BYTES = 128 * 1024 * 1024
ABANDONED_S = 60.0
"""How much longer than its caller a call may go on in Triton."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class EngineClient:
    """Calls the engines of the Triton at ``url`` (``host:port`` of its gRPC endpoint); for one event loop.

    ``timeout_s`` is the limit of a call that names none. An engine with ``max_in_flight`` inferences under way refuses
    the next (Triton's own bound on a queue costs stalls of 0.5 s). Inputs of ``shared_memory_min_bytes`` and more in
    all go through shared memory, of at most ``shared_memory_max_bytes`` (0: never), when the Triton is on this machine
    and can see it. ``on_unavailable`` is called with an engine's name whenever a call finds the engine gone, so that a
    supervisor need not wait for its next probe. Whoever listens there restarts what is `held`.

    Every method raises the errors of ``serve.errors``: NotFound (no such engine), InvalidRequest (a tensor's name,
    type or shape, in ``field``), TooLarge, DeadlineExceeded, Overloaded (its queue is full), EngineUnavailable (it
    cannot be reached, or its process is gone), EngineFailure. A cancelled task is free at once; what it asked for runs
    to its end in Triton, and is in flight until then.
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
        self._max_in_flight = max_in_flight
        self._in_flight: Counter[str] = Counter()
        self._abandoned: Counter[str] = Counter()
        self._calls: set[asyncio.Future[Any]] = set()
        self._max_message_bytes = max_message_bytes
        self._shared_memory_min_bytes = shared_memory_min_bytes
        self._shared_memory_max_bytes = shared_memory_max_bytes
        self.on_unavailable = on_unavailable
        self.on_stub_lost: Callable[[str], None] | None = None
        """Called with the engine of whose Python stub Triton said that it has given it up, before anybody has that
        answer: who restarts Triton sets ``held``."""
        self.on_inference: Callable[[str, Mapping[str, NDArray[Any]]], None] | None = None
        """Called with the engine and its inputs for each inference that was answered."""
        self._channel: grpc.aio.Channel | None = None
        self._connection: Any = None
        self._regions: RegionPool | None = None
        self._configs: dict[str, dict[str, Any]] = {}
        self.held: str | None = None
        """Why nothing is asked of this Triton, nor believed, before the next `connect`: it is being restarted."""

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Run ``engine`` on ``inputs``, arrays by name with the batch axis; all outputs, or those named.

        Without a ``version`` Triton takes the highest that is loaded. The arrays that come back are read-only views of
        the message.
        """
        own_limit_s = self._timeout_s if timeout_s is None else timeout_s
        limit_s = request_context.current().until(own_limit_s) - time.monotonic()
        if limit_s <= 0:
            raise DeadlineExceeded(f"no time was left for engine '{engine}'")
        if self._in_flight[engine] + self._abandoned[engine] >= self._max_in_flight:
            raise Overloaded(f"the queue of engine '{engine}' is full")
        with self._observed(engine, inputs):
            self.check_restarting(engine)
            request = partial(tensors.request, engine, inputs, outputs, version)
            answer = await self._infer(engine, inputs, request, limit_s)
            self.check_restarting(engine)
            found = tensors.arrays(answer)
        if self.on_inference is not None:
            self.on_inference(engine, inputs)
        return found

    def check_restarting(self, engine: str) -> None:
        """Raises EngineUnavailable while Triton is being restarted."""
        if self.held is not None:
            raise EngineUnavailable(f"engine '{engine}' is being restarted")

    @contextlib.contextmanager
    def _observed(self, engine: str, inputs: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """One inference in flight."""
        began = time.perf_counter()
        self._in_flight[engine] += 1
        catalogue.INFERENCES_IN_FLIGHT.set(self._in_flight[engine], engine)
        try:
            with tracing.span(f"infer {engine}", "client", **self._about(engine, inputs)):
                yield
            catalogue.INFERENCE_SECONDS.observe(time.perf_counter() - began, engine)
        except AtelierError as error:
            catalogue.INFERENCE_FAILURES.add(1, engine, type(error).__name__)
            if isinstance(error, EngineFailure):
                LOGGER.warning("engine '%s' failed: %s", engine, error)
            raise
        finally:
            self._in_flight[engine] -= 1
            catalogue.INFERENCES_IN_FLIGHT.set(self._in_flight[engine], engine)

    def _about(self, engine: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, str | int]:
        rows = next((len(array) for array in inputs.values() if array.ndim), 1)
        method = "inference.GRPCInferenceService/ModelInfer"
        return {"rpc__system__name": "grpc", "rpc__method": method, "atelier__engine": engine, "atelier__rows": rows}

    async def probe(self, engine: str, *, timeout_s: float | None = None, version: str = "") -> dict[str, NDArray[Any]]:
        """One real inference on zeros of the configured shape (or of ``model_warmup``'s); raises if it fails."""
        if engine not in self._configs:
            self._configs[engine] = await self.config(engine)
        return await self.infer(engine, warmup_inputs(self._configs[engine]), timeout_s=timeout_s, version=version)

    async def load(self, engine: str, *, timeout_s: float) -> None:
        """Have Triton look at the folder of ``engine`` again: what is loaded and stays answers all the while.

        Raises InvalidRequest with Triton's reason when something of it cannot be loaded; then nothing has changed.
        """
        self.check_restarting(engine)
        await self._call("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name=engine), engine,
                         timeout_s)  # fmt: skip

    async def live(self, *, timeout_s: float) -> None:
        """Raises unless the server says within ``timeout_s`` that it lives, which tells nothing of its engines."""
        await self._call("ServerLive", service_pb2.ServerLiveRequest(), "", timeout_s)

    async def metadata(self, engine: str) -> dict[str, Any]:
        """Name, versions, platform and the tensors of ``engine``."""
        request = service_pb2.ModelMetadataRequest(name=engine)
        return to_json(await self._call("ModelMetadata", request, engine))

    async def config(self, engine: str) -> dict[str, Any]:
        """The ``config.pbtxt`` of ``engine``, as Triton completed it."""
        request = service_pb2.ModelConfigRequest(name=engine)
        return to_json((await self._call("ModelConfig", request, engine)).config)

    async def statistics(self, engine: str) -> dict[str, Any]:
        """Counts and times (ns) of ``engine``, one entry of ``model_stats`` per version."""
        request = service_pb2.ModelStatisticsRequest(name=engine)
        return to_json(await self._call("ModelStatistics", request, engine))

    async def engines(self) -> list[str]:
        """The names of the engines that are loaded."""
        request = service_pb2.RepositoryIndexRequest(ready=True)
        index = await self._call("RepositoryIndex", request, "")
        return sorted({model.name for model in index.models})

    async def connect(self, url: str) -> None:
        """Call the Triton at ``url`` from now on."""
        self.url = url  # first: a call made while the old connection ends must not reach for it again
        await self.close()

    async def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        # All at once, before anything is awaited: a call made meanwhile finds the old connection whole, or a new one.
        regions, self._regions = self._regions, None
        channel, self._channel, self._connection = self._channel, None, None
        self._configs.clear()
        self.held = None
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
        called = getattr(connection, method)(request, timeout=limit_s + ABANDONED_S, metadata=metadata)
        call = asyncio.ensure_future(called)
        if method == "ModelInfer":  # the stub of a version that is being loaded is nobody else's
            call.add_done_callback(partial(self._inferred, engine, connection))
        try:
            return await self._answer(call, engine, limit_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connection is self._connection or (task is not None and task.cancelling()):
                raise
            raise EngineUnavailable(f"the connection to engine '{engine}' was closed") from None
        except grpc.aio.AioRpcError as error:
            fault = triton_errors.from_grpc(error, engine)
            if isinstance(fault, EngineUnavailable) and self.on_unavailable is not None:
                self.on_unavailable(engine)
            raise fault from error

    async def _answer(self, call: asyncio.Future[Any], engine: str, limit_s: float) -> Any:
        """The answer of ``call``, which goes on in Triton when nobody waits for it any more, and counts as in flight.

        Triton 2.51 may crash (SIGSEGV) when a call that it works on is cancelled or its deadline passes.
        """
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(call)
        except TimeoutError:
            raise DeadlineExceeded(f"engine '{engine}' did not answer in time") from None
        finally:
            if not call.done():
                self._abandoned[engine] += 1
                call.add_done_callback(partial(self._forget, engine))

    def _inferred(self, engine: str, connection: Any, call: asyncio.Future[Any]) -> None:
        """Before who waits learns of it, and although nobody does any more: the next answer may be this call's."""
        error = None if call.cancelled() else call.exception()
        given_up = isinstance(error, grpc.aio.AioRpcError) and triton_errors.gave_up(error)
        if given_up and connection is self._connection and self.on_stub_lost is not None:
            self.on_stub_lost(engine)

    def _forget(self, engine: str, call: asyncio.Future[Any]) -> None:
        self._abandoned[engine] -= 1
        if not call.cancelled():
            call.exception()  # was seen: asyncio would tell of it otherwise

    async def _infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], described: Callable[[], Any], timeout_s: float
    ) -> Any:
        request = described()
        if self._is_large(inputs) and (regions := self._regions) is not None:
            try:
                region = await self._lend(regions, inputs)
                if region is not None:
                    return await self._infer_shared(request, inputs, regions, region, engine, timeout_s)
            except triton_errors.RegionLost:
                # Triton was restarted and has none of ours any more; the first to learn it makes the new pool.
                if self._regions is regions:
                    self._regions = self._pool(self._connect())
                request = described()
        request.raw_input_contents.extend(tensors.encode(array) for array in inputs.values())
        return await self._call("ModelInfer", request, engine, timeout_s)

    def _connect(self) -> Any:
        if self._connection is None:
            # Made here and not in the constructor: a channel belongs to the event loop that is running.
            self._channel = grpc.aio.insecure_channel(self.url, options=self._options())
            self._connection = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            self._regions = self._pool(self._connection)
        return self._connection

    def _pool(self, connection: Any) -> RegionPool | None:
        """Regions known to the Triton of ``connection``, and to be forgotten by that one."""
        if not self._shared_memory_max_bytes or self.url.rpartition(":")[0] not in LOOPBACK_HOSTS:
            return None
        return RegionPool(
            self._shared_memory_max_bytes, partial(self._register, connection), partial(self._unregister, connection)
        )

    def _is_large(self, inputs: Mapping[str, NDArray[Any]]) -> bool:
        self._connect()
        plain = all(array.dtype.kind not in "OSU" for array in inputs.values())
        return plain and sum(array.nbytes for array in inputs.values()) >= self._shared_memory_min_bytes

    async def _lend(self, regions: RegionPool, inputs: Mapping[str, NDArray[Any]]) -> Region | None:
        try:
            return await regions.lend(inputs)
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
            regions.give_back(region, abandoned=abandoned)

    async def _register(self, connection: Any, name: str, key: str, byte_size: int) -> None:
        request = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=key, byte_size=byte_size)
        await self._call("SystemSharedMemoryRegister", request, "", connection=connection)

    async def _unregister(self, connection: Any, name: str) -> None:
        request = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        await self._call("SystemSharedMemoryUnregister", request, "", connection=connection)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.use_local_subchannel_pool", 1),
            *RECONNECT,
            DIRECT,
        ]
