"""Calls to a lost replica end, and those to one that stops in order do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.common import DeploymentHandleSource, DeploymentID
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import ReplicaID
from waiting import until

from serve.cluster import routing
from serve.cluster.routing import Router, TrackedReplica

pytestmark = pytest.mark.ray

ENSEMBLE = DeploymentID("Vectorizer", "atelier")


class Call:
    """As Ray Serve has it for a replica called by gRPC."""

    def __init__(self) -> None:
        self.cancelled = False
        self._done: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._done.append(callback)

    def cancel(self) -> None:
        self.cancelled = True
        self.end()

    def end(self) -> None:
        for callback in self._done:
            callback(self)


class Sender:
    def send_request_python(self, _: Any, *, with_rejection: bool) -> Call:
        assert with_rejection
        return Call()


class Replica(TrackedReplica):
    """``answers``: seconds until the response, or the error to raise."""

    def __init__(self, answers: float | Exception, name: str = "one") -> None:
        info: Any = SimpleNamespace(
            replica_id=ReplicaID(name, ENSEMBLE),
            multiplexed_model_ids=(),
            is_cross_language=False,
            get_actor_handle=lambda: None,
        )
        super().__init__(info)
        self.answers = answers
        self.first_s = 0.0
        self.first: Exception | None = None
        self.asked = 0

    def _get_replica_wrapper(self, pr: Any) -> Any:
        return Sender()

    async def get_queue_len(self, *, deadline_s: float) -> int:
        self.asked += 1
        answers = self.first if self.first is not None and self.asked == 1 else self.answers
        if isinstance(answers, Exception):
            raise answers
        await asyncio.sleep(answers if self.asked != 1 else max(answers, self.first_s))
        return 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(routing, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(routing, "SETTLE_S", 0.01)


def sent(replica: TrackedReplica) -> Call:
    call: Call = replica.try_send_request(None, with_rejection=True)
    return call


@pytest.mark.parametrize("answers", [60.0, ActorDiedError()], ids=["hangs", "dead"])
async def test_what_a_lost_replica_has_is_ended(answers: float | Exception) -> None:
    replica = Replica(answers)
    calls = [sent(replica), sent(replica)]
    calls[0].end()
    await asyncio.wait_for(replica.cancel_when_lost(), 60)
    assert [call.cancelled for call in calls] == [False, True]
    assert replica.asked == (1 if isinstance(answers, ActorDiedError) else routing.MAX_MISSES)


async def test_one_that_stops_in_order_may_end_what_it_has() -> None:
    replica = Replica(0.0)
    replica.first_s = 60.0  # one check is missed
    call = sent(replica)
    looking = asyncio.create_task(replica.cancel_when_lost())
    await until(lambda: replica.asked > 2)
    assert not looking.done()
    assert not call.cancelled
    call.end()
    await asyncio.wait_for(looking, 60)


async def test_a_connection_that_breaks_at_once_has_as_long_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "CHECK_INTERVAL_S", 0.5)
    replica = Replica(ActorUnavailableError("broken", None))
    call = sent(replica)
    began = time.monotonic()
    await asyncio.wait_for(replica.cancel_when_lost(), 60)
    assert time.monotonic() - began > 0.9 * routing.MAX_MISSES * routing.CHECK_INTERVAL_S
    assert call.cancelled


async def test_a_connection_that_comes_back_keeps_its_calls() -> None:
    replica = Replica(0.0)
    replica.first = ActorUnavailableError("broken", None)
    call = sent(replica)
    looking = asyncio.create_task(replica.cancel_when_lost())
    await until(lambda: replica.asked > routing.MAX_MISSES)
    assert not call.cancelled
    call.end()
    await asyncio.wait_for(looking, 60)


async def test_what_nobody_foresaw_ends_no_look(caplog: pytest.LogCaptureFixture) -> None:
    replica = Replica(ValueError("odd"))
    call = sent(replica)
    looking = asyncio.create_task(replica.cancel_when_lost())
    await until(lambda: replica.asked > routing.MAX_MISSES + 1)
    assert not call.cancelled, "that is no word of the replica's"
    assert "ValueError: odd" in caplog.text
    replica.answers = ActorDiedError()
    await asyncio.wait_for(looking, 60)
    assert call.cancelled


async def test_one_that_has_nothing_is_not_asked() -> None:
    replica = Replica(60.0)
    await replica.cancel_when_lost()
    assert replica.asked == 0


@pytest.mark.parametrize("taken_out", ["update", "death"])
async def test_who_is_taken_out_of_the_router_is_looked_after(taken_out: str) -> None:
    router = Router(deployment_id=ENSEMBLE, handle_source=DeploymentHandleSource.REPLICA)
    lost, well = Replica(60.0, "lost"), Replica(0.0, "well")
    calls = [sent(lost), sent(well)]
    router.update_replicas([lost, well])
    if taken_out == "update":
        router.update_replicas([well])
    else:
        router.on_replica_actor_died(lost.replica_id)
    await until(lambda: calls[0].cancelled)
    assert not calls[1].cancelled


def test_ray_serve_takes_it() -> None:
    config = RequestRouterConfig.model_validate({"request_router_class": routing.PATH})
    config._serialize_request_router_cls()
    assert config.get_request_router_class() is Router
