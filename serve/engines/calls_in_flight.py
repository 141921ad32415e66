"""`CallsInFlight`: what a client's engines are working on, bounded, counted and timed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, Overloaded
from serve.observability import tracing
from serve.observability.metrics import catalogue

LOGGER = logging.getLogger(__name__)


class CallsInFlight:
    """Inferences that have not ended, at most ``most`` of an engine; also those whose caller has stopped waiting."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_flight: Counter[str] = Counter()
        self._abandoned: Counter[str] = Counter()
        self.running: set[asyncio.Future[Any]] = set()

    def is_working(self, engine: str) -> bool:
        return bool(self._in_flight[engine] or self._abandoned[engine])

    @contextlib.contextmanager
    def counted(self, engine: str, inputs: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """Count and time one inference. Raises Overloaded if too many are in flight."""
        if self._in_flight[engine] + self._abandoned[engine] >= self._most:
            raise Overloaded(f"the queue of engine '{engine}' is full")
        began = time.perf_counter()
        self._in_flight[engine] += 1
        catalogue.INFERENCES_IN_FLIGHT.set(self._in_flight[engine], engine)
        try:
            rows = next((len(array) for array in inputs.values() if array.ndim), 1)
            with tracing.span(f"infer {engine}", "client", atelier__engine=engine, atelier__rows=rows):
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

    async def response(self, call: asyncio.Future[Any], engine: str, limit_s: float) -> Any:
        """The response of ``call``. If the caller stops waiting, the call runs on in Triton and still counts as in
        flight.

        Triton 2.51 may crash (SIGSEGV) when a call it is executing is cancelled or passes its deadline.
        """
        self.running.add(call)
        call.add_done_callback(self.running.discard)
        try:
            await asyncio.wait((call,), timeout=limit_s)  # neither its end nor a cancellation cancels the call
        finally:
            if not call.done():
                self._abandoned[engine] += 1
                call.add_done_callback(partial(self._release_abandoned, engine))
        if not call.done():
            raise DeadlineExceeded(f"engine '{engine}' did not answer in time")
        return call.result()

    def _release_abandoned(self, engine: str, call: asyncio.Future[Any]) -> None:
        self._abandoned[engine] -= 1
        if not call.cancelled():
            call.exception()  # mark as retrieved: asyncio would log it otherwise
