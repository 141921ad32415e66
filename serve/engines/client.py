"""``Engines``: the only inference client. Numpy arrays in and out, over gRPC to one Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serve.engines import faults, tensors
from serve.engines.v2_json import to_json
from serve.errors import EngineUnavailable

MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class Engines:
    """Calls the engines of the Triton at ``url`` (``host:port`` of its gRPC endpoint); for one event loop.

    ``timeout_s`` is the limit of a call that names none. ``on_unavailable`` is called with an engine's name whenever a
    call finds the engine gone, so that a supervisor need not wait for its next probe.

    Every method raises the errors of ``serve.errors``: NotFound (no such engine), InvalidRequest (a tensor's name,
    type or shape, in ``field``), TooLarge, DeadlineExceeded, Overloaded (its queue is full), EngineUnavailable (it
    cannot be reached, or its process is gone), EngineFailure. A cancelled task cancels its call.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        on_unavailable: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._max_message_bytes = max_message_bytes
        self.on_unavailable = on_unavailable
        self._channel: grpc.aio.Channel | None = None
        self._connection: Any = None
        self._configs: dict[str, dict[str, Any]] = {}

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run ``engine`` on ``inputs``, arrays by name with the batch axis; all outputs, or those named.

        The arrays that come back are read-only views of the message.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        request = tensors.request(engine, inputs, outputs)
        request.parameters["timeout"].int64_param = max(1, round(limit_s * 1e6))
        request.raw_input_contents.extend(tensors.encode(array) for array in inputs.values())
        return tensors.arrays(await self._call("ModelInfer", request, engine, limit_s))

    async def probe(self, engine: str, *, timeout_s: float | None = None) -> None:
        """One real inference on zeros of the configured shape (or of ``model_warmup``'s); raises if it fails."""
        if engine not in self._configs:
            self._configs[engine] = await self.config(engine)
        await self.infer(engine, zeros(self._configs[engine]), timeout_s=timeout_s)

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
        await self.close()
        self.url = url

    async def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        channel, self._channel, self._connection = self._channel, None, None
        self._configs.clear()
        if channel is not None:
            await channel.close()

    async def _call(self, method: str, request: Any, engine: str, timeout_s: float | None = None) -> Any:
        if self._connection is None:
            # Made here and not in the constructor: a channel belongs to the event loop that is running.
            self._channel = grpc.aio.insecure_channel(self.url, options=self._options())
            self._connection = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        connection = self._connection
        try:
            return await getattr(connection, method)(
                request, timeout=self._timeout_s if timeout_s is None else timeout_s
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connection is self._connection or (task is not None and task.cancelling()):
                raise
            raise EngineUnavailable(f"the connection to engine '{engine}' was closed") from None
        except grpc.aio.AioRpcError as error:
            fault = faults.from_grpc(error, engine)
            if isinstance(fault, EngineUnavailable) and self.on_unavailable is not None:
                self.on_unavailable(engine)
            raise fault from error

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]


def zeros(config: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Inputs of zeros for a config; axes of any length take the first ``model_warmup`` sample's length, or 1."""
    samples = config["model_warmup"] or [{"inputs": {}}]
    lead = (1,) if config["max_batch_size"] > 0 else ()
    inputs = {}
    for entry in config["input"]:
        if entry["optional"]:
            continue
        warm = samples[0]["inputs"].get(entry["name"], {"dims": [1] * len(entry["dims"])})["dims"]
        shape = lead + tuple(free if length < 0 else length for free, length in zip(warm, entry["dims"], strict=True))
        name = entry["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES")
        inputs[entry["name"]] = np.full(shape, b"" if name == "BYTES" else 0, tensors.NUMPY_TYPES[name])
    return inputs
