"""`LocalEngines`: inferences on a Triton of this machine without the hop to the replica that owns it.

Only for an ensemble of one replica: its load needs no balancing, and the replica's autoscaling none of the counts. The
replica tells the address; it keeps supervising its Triton, and bills the work that is reported to it once a second. Any
failure that another attempt might heal is left to the hop: the replica knows what happened to its Triton. A replica
that gives up a stub of its Triton removes a file: without it no answer is used, as it may belong to another request.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from serve.api.inference.tensors import Array
from serve.cluster.hop.address_lookup import AddressLookup, Call
from serve.engines.client import EngineClient
from serve.engines.service import EngineAddress
from serve.engines.usage_meter import work_units
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded

LOGGER = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0


class LocalEngines:
    """For one event loop. ``max_in_flight``: more concurrent inferences than this wait in the replica's queue."""

    def __init__(self, call: Call, max_in_flight: int) -> None:
        self._call = call
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._client: EngineClient | None = None
        self._engines: frozenset[str] = frozenset()
        self._lookup = AddressLookup(call, "engine_address", "the address of the engines", self._use)
        self._work: Counter[str] = Counter()
        """Work units that are not yet reported."""
        self._reporting: asyncio.Task[None] | None = None
        self._lost: asyncio.Task[None] | None = None
        """Reports a lost stub to the replica."""

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None,
        timeout_s: float | None,
        version: str,
    ) -> dict[str, Array] | None:
        """The outputs; None if the replica has to be called. Raises as `EngineClient.infer`."""
        client = self._client
        if client is None:
            self._lookup.start()
            return None
        if engine not in self._engines or self._in_flight >= self._max_in_flight:
            return None
        self._in_flight += 1
        try:
            return await client.infer(engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version)
        except Overloaded:
            return None
        except DeadlineExceeded:
            self._leave(client)  # the replica has to see an engine that hangs
            raise
        except (EngineUnavailable, EngineFailure):
            self._leave(client)
            if client.restart_reason is not None and self._lost is not None:
                await asyncio.shield(self._lost)  # the replica must not call the stub before it knows
            return None
        finally:
            self._in_flight -= 1

    def _leave(self, client: EngineClient) -> None:
        """Inferences go through the replica for RETRY_S."""
        if self._client is client:
            self._client = None
            self._lookup.pause()
            client.retire()

    async def _use(self, address: EngineAddress) -> None:
        client = EngineClient(address.url, timeout_s=address.timeout_s)
        client.serving_mark = address.serving_mark
        client.on_inference = self._record
        client.on_stub_lost = partial(self._report_lost_stub, client)
        if address.http_address:
            client.use_http(address.http_address, address.http_key)
        self._client, self._engines = client, frozenset(address.engines)

    def _report_lost_stub(self, client: EngineClient, engine: str) -> None:
        """Discards what ``client`` still receives: a response may belong to another request. The replica restarts its
        Triton."""
        client.restart_reason = f"a stub of '{engine}' is lost"
        self._leave(client)
        self._lost = asyncio.create_task(self._call_lost_stub(engine, client.url), context=contextvars.Context())

    async def _call_lost_stub(self, engine: str, url: str) -> None:
        try:
            await self._call("stub_lost", engine, url)
        except AtelierError as error:
            LOGGER.warning("a lost stub was not reported: %s", error)

    def _record(self, engine: str, inputs: Mapping[str, Array]) -> None:
        self._work[engine] += work_units(inputs)
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report(), context=contextvars.Context())

    async def _report(self) -> None:
        """Report the work until there is none. What cannot be reported is not billed."""
        while self._work:
            await asyncio.sleep(REPORT_INTERVAL_S)
            work, self._work = dict(self._work), Counter()
            try:
                await self._call("bill_work", work)
            except AtelierError as error:
                LOGGER.warning("the cost of inferences was not counted: %s", error)
