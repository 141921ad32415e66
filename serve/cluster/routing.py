"""Cancels calls to replicas that are gone. The choice of a replica is Ray Serve's.

Calls use gRPC (`serve.cluster.replicas`). A machine that loses power or network does not reset its connections, so
callers would wait for their deadline. A replica that does not respond is removed from every caller's router; so is one
that shuts down in order, which completes its calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from ray._private.grpc_utils import init_grpc_channel
from ray.exceptions import ActorDiedError, RayError
from ray.serve._private.common import RunningReplicaInfo
from ray.serve._private.constants import RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.generated.serve_pb2_grpc import ASGIServiceStub
from ray.serve.request_router import ReplicaID, RunningReplica

from serve.engines.grpc_options import NO_PROXY, RECONNECT

LOGGER = logging.getLogger(__name__)

PATH = "serve.cluster.routing.Router"
MAX_MISSES = 2
"""Consecutive failed checks; a single one may be transient, or a delay of this process."""
ANSWER_TIMEOUT_S, CHECK_INTERVAL_S, SETTLE_S = 1.0, 1.0, 0.1
CHANNEL = (("grpc.max_receive_message_length", RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH), NO_PROXY, *RECONNECT)
_TASKS: set[asyncio.Task[None]] = set()
"""Strong references: an event loop alone does not keep its tasks."""


class TrackedReplica(RunningReplica):
    """A replica with its pending calls."""

    def __init__(self, replica_info: RunningReplicaInfo) -> None:
        super().__init__(replica_info)
        self._pending: set[Any] = set()
        self._own_stub: Any = None

    @property
    def stub(self) -> Any:
        if self._own_stub is None:
            info = self._replica_info
            channel = init_grpc_channel(f"{info.node_ip}:{info.port}", CHANNEL, asynchronous=True)
            self._own_stub = ASGIServiceStub(channel)  # type: ignore[no-untyped-call]
        return self._own_stub

    def try_send_request(self, pr: Any, with_rejection: bool) -> Any:
        result = super().try_send_request(pr, with_rejection)
        self._pending.add(result)
        result.add_done_callback(lambda _: self._pending.discard(result))
        return result

    async def cancel_when_lost(self) -> None:
        """Wait until no call is pending; cancel all of them once the replica is dead or does not respond.

        `serve.cluster.hop.remote_ensemble` recognises that the caller did not cancel them, and repeats them.
        """
        misses, now = 0, asyncio.get_running_loop().time
        await asyncio.sleep(SETTLE_S)  # includes calls sent a moment ago
        while self._pending and misses < MAX_MISSES:
            next_look = now() + CHECK_INTERVAL_S  # full interval after a broken connection too: it may be back by then
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await self.get_queue_len(deadline_s=ANSWER_TIMEOUT_S)
                misses = 0
            except ActorDiedError:
                break
            except (TimeoutError, RayError):
                misses += 1
            except Exception:
                LOGGER.exception("the check of a replica failed; it is repeated")
            await asyncio.sleep(next_look - now())
        self._cancel_pending()

    def _cancel_pending(self) -> None:
        for result in list(self._pending):
            result.cancel()


class Router(PowerOfTwoChoicesRequestRouter):
    """Request router of every caller, for each ensemble."""

    def create_replica_wrapper(self, replica_info: RunningReplicaInfo) -> RunningReplica:
        return TrackedReplica(replica_info)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        before = self.curr_replicas
        super().update_replicas(replicas)
        self._supervise(replica for name, replica in before.items() if name not in self.curr_replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        gone = self.curr_replicas.get(replica_id)
        super().on_replica_actor_died(replica_id)
        self._supervise([] if gone is None else [gone])

    def _supervise(self, gone: Iterable[RunningReplica]) -> None:
        for replica in gone:
            if isinstance(replica, TrackedReplica):
                looking = self._event_loop.create_task(replica.cancel_when_lost())
                _TASKS.add(looking)
                looking.add_done_callback(_TASKS.discard)
