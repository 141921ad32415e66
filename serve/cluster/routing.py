"""Which replica a call goes to is Ray Serve's choice; here ends what was sent to one that is gone.

Calls go by gRPC (`serve.cluster.replicas`), and a machine without power or network does not even reset a connection:
callers would wait for their deadline. A replica that does not answer is taken out of every caller's router; so is one
that stops in order, which ends what it has begun.
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
MISSES = 2
"""In a row: one may be a moment's, of this process, too."""
ANSWER_S, LOOK_S, SOON_S = 1.0, 1.0, 0.1
CHANNEL = (("grpc.max_receive_message_length", RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH), NO_PROXY, *RECONNECT)
_LOOKING: set[asyncio.Task[None]] = set()
"""An event loop alone does not keep its tasks."""


class TrackedReplica(RunningReplica):
    """A replica, with what was sent to it and has not come back."""

    def __init__(self, replica_info: RunningReplicaInfo) -> None:
        super().__init__(replica_info)
        self._under_way: set[Any] = set()
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
        self._under_way.add(result)
        result.add_done_callback(lambda _: self._under_way.discard(result))
        return result

    async def look_after(self) -> None:
        """Until nothing is under way there any more: once it is dead or does not answer, all of it is ended.

        `serve.cluster.remote` sees that nobody has cancelled these calls, and makes them once more.
        """
        misses, now = 0, asyncio.get_running_loop().time
        await asyncio.sleep(SOON_S)  # what was given to it a moment ago is under way, too
        while self._under_way and misses < MISSES:
            next_look = now() + LOOK_S  # also after a connection that broke at once: by then it may be there again
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self.get_queue_len(deadline_s=ANSWER_S)
                misses = 0
            except ActorDiedError:
                break
            except (TimeoutError, RayError):
                misses += 1
            except Exception:
                LOGGER.exception("whether a replica answers is not known; it is asked again")
            await asyncio.sleep(next_look - now())
        self._give_up()

    def _give_up(self) -> None:
        for result in list(self._under_way):
            result.cancel()


class Router(PowerOfTwoChoicesRequestRouter):
    """Of every caller, for each ensemble."""

    def create_replica_wrapper(self, replica_info: RunningReplicaInfo) -> RunningReplica:
        return TrackedReplica(replica_info)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        before = self.curr_replicas
        super().update_replicas(replicas)
        self._look_after(replica for name, replica in before.items() if name not in self.curr_replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        gone = self.curr_replicas.get(replica_id)
        super().on_replica_actor_died(replica_id)
        self._look_after([] if gone is None else [gone])

    def _look_after(self, gone: Iterable[RunningReplica]) -> None:
        for replica in gone:
            if isinstance(replica, TrackedReplica):
                looking = self._event_loop.create_task(replica.look_after())
                _LOOKING.add(looking)
                looking.add_done_callback(_LOOKING.discard)
