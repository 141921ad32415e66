"""`LocalCalls`: calls of the one replica of an ensemble on this machine, past Ray Serve (`call_server`).

Only for an ensemble of one replica: its load needs no balancing, and the replica's autoscaling none of the counts. The
replica tells its socket through Ray Serve. Whatever keeps a call from being answered here is left to Ray Serve, which
knows where the replica is now: every call is safe to repeat.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serve.cluster.hop.address_lookup import AddressLookup, Call
from serve.cluster.hop.call_server import CALL_ADDRESS, CLOSING, METHODS, CallAddress, Frames
from serve.ensembles.vectorizer.worker_protocol import Malformed, pack, unpack
from serve.observability.request_context import Urgency

LOGGER = logging.getLogger(__name__)

NOT_CALLED: Final = object()
"""In place of a result: Ray Serve has to make the call."""
_MOST_IN_FLIGHT = 4096


class _Connection(Frames):
    """``is_closing``: the replica takes no more calls."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.is_closing = False
        self.pending: dict[int, asyncio.Future[bytes]] = {}

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.is_closing = True
        for waiting in self.pending.values():
            if not waiting.done():
                waiting.set_result(b"")

    def frame_received(self, number: int, body: bytes) -> None:
        if number == CLOSING:
            self.is_closing = True
        elif (waiting := self.pending.get(number)) is not None and not waiting.done():
            waiting.set_result(body)


class LocalCalls:
    """For one event loop. ``call`` calls a method of the replica through Ray Serve."""

    def __init__(self, call: Call, max_bytes: int) -> None:
        """``max_bytes``: of a frame."""
        self._max_bytes = max_bytes
        self._connection: _Connection | None = None
        self._numbers = itertools.count(CLOSING + 1)
        self._lookup = AddressLookup(call, CALL_ADDRESS, "the socket of the replica", self._connect)

    def takes(self, method: str) -> bool:
        """Whether ``method`` can be called at this moment. If not, the socket is looked for."""
        if method not in METHODS:
            return False
        if self._connection is None or self._connection.is_closing:
            self._lookup.start()
            return False
        return len(self._connection.pending) < _MOST_IN_FLIGHT

    async def call(self, method: str, carrier: Mapping[str, str], arguments: Sequence[Any], urgency: Urgency) -> Any:
        """The result, which may be one of our errors, of a method that it `takes`; NOT_CALLED where Ray Serve has to
        make the call: the connection is lost, or a value has no frame. Cancelling it cancels the call."""
        connection = self._connection
        assert connection is not None
        left_s, priority = urgency
        body = pack((method, dict(carrier), tuple(arguments), (left_s, int(priority))))
        if len(body) > self._max_bytes:
            return NOT_CALLED
        number = next(self._numbers)
        waiting = connection.pending[number] = asyncio.get_running_loop().create_future()
        try:
            connection.send(number, body)
            answer = await waiting
        except asyncio.CancelledError:
            connection.send(number)
            raise
        finally:
            del connection.pending[number]
        try:
            return unpack(answer) if answer else NOT_CALLED
        except Malformed:
            LOGGER.exception("the answer of %s is malformed", method)
            connection.abort()
            return NOT_CALLED

    def close(self) -> None:
        self._lookup.close()
        if self._connection is not None:
            self._connection.abort()

    async def _connect(self, address: CallAddress) -> None:
        try:
            _, self._connection = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Connection(self._max_bytes), sock=address.connect()
            )
        except OSError as error:
            LOGGER.info("the socket of the replica does not answer: %s", error)
