"""Inference of decoupled engines: several responses to one request, over one gRPC stream.

A caller that leaves does not cancel its call, as Triton 2.51 may crash then: a second request on the same stream asks
the engine to stop, and the rest of the responses is read in the background.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from numpy.typing import NDArray

from serve.engines import tensors, triton_errors
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded

if TYPE_CHECKING:
    from serve.engines.client import EngineClient

DRAIN_S = 30.0
"""Longest time for an engine to stop, after which the call is cancelled."""
_BACKGROUND: set[asyncio.Task[None]] = set()


async def stream_infer(
    client: EngineClient,
    engine: str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    timeout_s: float,
    stop: Mapping[str, NDArray[Any]] | None = None,
    version: str = "",
) -> AsyncGenerator[dict[str, NDArray[Any]]]:
    """The engine's responses, each with all outputs. ``stop``: inputs of the request that makes it end early.

    ``timeout_s`` is for all of them. Raises as `EngineClient.infer`.
    """
    client.check_restarting(engine)
    requests: asyncio.Queue[Any] = asyncio.Queue()
    requests.put_nowait(_request(engine, inputs, version))
    call = client.connection.ModelStreamInfer(_queued(requests))
    deadline, over = time.monotonic() + timeout_s, False
    try:
        while True:
            response = await _next(call, engine, deadline)
            if response is None:
                over = True
                client.check_restarting(engine)
                return
            if response.error_message:
                over = True
                raise _error(response.error_message, engine)
            message = response.infer_response
            final = message.parameters["triton_final_response"].bool_param
            if message.outputs:
                yield tensors.arrays(message)
            if final:
                over = True
                return
    finally:
        if not over and stop is not None:
            requests.put_nowait(_request(engine, stop, version))
        requests.put_nowait(None)
        task = asyncio.create_task(_drain(call))
        _BACKGROUND.add(task)
        task.add_done_callback(_BACKGROUND.discard)


def _request(engine: str, inputs: Mapping[str, NDArray[Any]], version: str) -> Any:
    request = tensors.request(engine, inputs, None, version)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.raw_input_contents.extend(tensors.encode(array) for array in inputs.values())
    return request


async def _queued(requests: asyncio.Queue[Any]) -> AsyncGenerator[Any]:
    while (request := await requests.get()) is not None:
        yield request


async def _next(call: Any, engine: str, deadline: float) -> Any:
    """The next response; None after the last. A read that is late goes on, and ends with `_drain`."""
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait((reading,), timeout=max(0.0, deadline - time.monotonic()))
    finally:
        if not reading.done():
            reading.add_done_callback(_retrieved)
    if not reading.done():
        raise DeadlineExceeded(f"engine '{engine}' did not answer in time")
    try:
        response = reading.result()
    except grpc.aio.AioRpcError as error:
        mapped = triton_errors.from_grpc(error, engine)
        raise mapped if isinstance(mapped, AtelierError) else EngineUnavailable(str(mapped)) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EngineUnavailable(f"the connection to engine '{engine}' was closed") from None
    return None if response is grpc.aio.EOF else response


def _retrieved(reading: asyncio.Future[Any]) -> None:
    if not reading.cancelled():
        reading.exception()


async def _drain(call: Any) -> None:
    """Read on until the engine has stopped."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await call.read() is not grpc.aio.EOF:
                pass
    except (TimeoutError, grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
        call.cancel()


def _error(message: str, engine: str) -> AtelierError:
    if "exceeds maximum queue size" in message:
        return Overloaded(f"the queue of engine '{engine}' is full")
    if "unknown model" in message or "is not ready" in message:
        return EngineUnavailable(f"engine '{engine}' is not served here")
    return EngineFailure(f"engine '{engine}' failed: {message[:200]}")
