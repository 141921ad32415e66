"""Calls to an ensemble's replica: Ray's errors become ours, and a call whose replica died is repeated once."""

from __future__ import annotations

import asyncio
import pickle  # noqa: TID251 (what Ray does with an error, done to one by hand)
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException, RequestCancelledError
from waiting import until

import serve.cluster.hop.remote_ensemble
from serve.cluster.hop.remote import RemoteIllustrator, RemoteVectorizer
from serve.cluster.replicas import Replica
from serve.cluster.scale_to_zero import IdleState
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters
from serve.ensembles.illustrator.service import Checkpoint, Preview, Progress, StreamOptions
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import (
    AtelierError,
    BadImage,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    Overloaded,
    ScaledToZero,
)
from serve.observability import request_context
from serve.observability.request_context import DEFAULT_URGENCY, Priority, RequestContext, Urgency
from serve.security.limits.admission_queue import AdmissionQueue

pytestmark = pytest.mark.ray


class Response:
    """What a handle's ``remote`` returns: a stream of one item, which can be cancelled."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.cancelled = False

    @property
    def _replica_result_future(self) -> asyncio.Future[Any]:
        """The replica that took the call: none yet."""
        return asyncio.get_running_loop().create_future()

    async def __aiter__(self) -> AsyncIterator[Any]:
        if self.outcome == "hang":
            await asyncio.sleep(60)
        if self.outcome == "late death":
            await asyncio.sleep(0.5)
            raise DIED
        if self.outcome == "late answer":
            await asyncio.sleep(0.5)
        if isinstance(self.outcome, BaseException) and not isinstance(self.outcome, AtelierError):
            raise self.outcome
        yield self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Gives one outcome after the other, and records the calls."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.responses: list[Response] = []

    @property
    def answer(self) -> Handle:
        return self

    def remote(self, method: str, *arguments: Any, **named: Any) -> Response:
        self.responses.append(Response(self.outcomes.pop(0)))
        return self.responses[-1]


def vectorize(handle: Handle, timeout_s: float = 30.0) -> Any:
    return RemoteVectorizer(handle, timeout_s).vectorize(b"", VectorizeOptions())  # type: ignore[arg-type]


def understood(*arguments: Any) -> Exception:
    """Like the error that Ray raises for a replica's: of both types."""
    raised: Exception = RayTaskError(*arguments).as_instanceof_cause()
    return raised


DIED = ActorDiedError()
GONE: Callable[[], Exception] = lambda: ActorUnavailableError("gone", None)  # noqa: E731


async def test_an_answer_is_an_answer() -> None:
    assert await vectorize(Handle("svg")) == "svg"


def rpc_error(code: StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), "details with an address")


@pytest.mark.parametrize(
    "death",
    [
        *(DIED, GONE(), rpc_error(StatusCode.CANCELLED), rpc_error(StatusCode.INTERNAL), RequestCancelledError("id")),
        *(RuntimeError("Unexpected error (StatusCode.UNAVAILABLE): Socket closed."), asyncio.CancelledError()),
    ],
    ids=lambda death: type(death).__name__,
)
async def test_a_dead_replica_is_asked_once_more(death: BaseException) -> None:
    """Also a call to a lost machine, which `serve.cluster.routing` ends: no caller here has cancelled it."""
    handle = Handle(death, "svg")
    assert await vectorize(handle) == "svg"
    assert len(handle.responses) == 2
    handle = Handle(death, death, "too late")
    with pytest.raises(EngineUnavailable):
        await vectorize(handle)
    assert len(handle.responses) == 2


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded),
        (BadImage("no pixels", "image"), BadImage),
    ],
)
async def test_errors_are_mapped_and_not_repeated(raised: Exception, expected: type[AtelierError]) -> None:
    handle = Handle(raised, "svg")
    with pytest.raises(expected):
        await vectorize(handle)
    assert len(handle.responses) == 1


class Alone(Replica):
    def __del__(self) -> None:  # type: ignore[override]
        """Ray would await its own kind."""


class Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def vectorize(self) -> None:
        raise self._error

    async def stream(self) -> AsyncIterator[int]:
        yield 1
        raise self._error


@pytest.mark.parametrize(
    "error", [ValueError("secret"), TimeoutError("secret")], ids=lambda error: type(error).__name__
)
async def test_a_trace_stays_inside(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Callers see an unexpected error as a failure of the ensemble; its details are only in the ensemble's log."""
    replica = Alone()
    replica._ensemble, replica._admission = Broken(error), AdmissionQueue(1, 2)
    (answer,) = [item async for item in Replica.answer(replica, "vectorize", {})]
    first, last = [item async for item in Replica.stream(replica, "stream", {})]
    assert first == 1
    for told in (answer, last):
        assert isinstance(told, EngineFailure)
        assert "secret" not in str(told)
    assert caplog.text.count(f"{type(error).__name__}: secret") == 2


class Taken:
    """A call that a replica has just taken."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_call_that_was_taken_at_this_moment_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response does not know it, and cancels nothing."""
    taken, told = Taken(), asyncio.get_running_loop().create_future()
    told.set_result(taken)
    monkeypatch.setattr(Response, "_replica_result_future", told)
    with pytest.raises(DeadlineExceeded):
        await vectorize(Handle("hang"), timeout_s=0.05)
    assert taken.cancelled


async def test_an_answer_that_cannot_be_sent_is_not_asked_for_again() -> None:
    handle = Handle(rpc_error(StatusCode.RESOURCE_EXHAUSTED), "svg")
    with pytest.raises(EngineFailure, match="RESOURCE_EXHAUSTED") as caught:
        await vectorize(handle)
    assert len(handle.responses) == 1
    assert "address" not in str(caught.value)


@pytest.mark.parametrize(
    "raised",
    [
        *(TypeError("secret"), RaySystemError("secret"), RayServeException("secret"), RuntimeError("secret")),
        *(kind("answer", "secret at 10.0.0.1", TypeError("secret")) for kind in (RayTaskError, understood)),
    ],
    ids=lambda raised: type(raised).__name__,
)
async def test_what_fails_on_the_way_is_a_failure_of_the_ensemble(
    raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """For example a call between two versions with different protocols: another service may stand in."""
    handle = Handle(raised, "svg")
    with pytest.raises(EngineFailure, match="on the way to the Vectorizer") as caught:
        await vectorize(handle)
    assert len(handle.responses) == 1
    assert "secret" not in str(caught.value)
    with pytest.raises(EngineFailure, match="on the way to the Illustrator"):
        [item async for item in stream(StreamHandle([preview(0, 1), raised]))]
    assert caplog.text.count("failed on its way") == 2
    assert "secret" in caplog.text


async def test_a_wait_has_an_end_and_cancels_its_work() -> None:
    handle = Handle("hang")
    with pytest.raises(DeadlineExceeded):
        await vectorize(handle, timeout_s=0.05)
    assert handle.responses[0].cancelled


async def test_both_attempts_share_one_deadline() -> None:
    """The second would be in time by itself."""
    with pytest.raises(DeadlineExceeded):
        await vectorize(Handle("late death", "late answer"), timeout_s=0.8)


async def test_health_is_not_waited_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.cluster.hop.remote_ensemble, "HEALTH_TIMEOUT_S", 0.05)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
        await RemoteVectorizer(Handle("hang"), 60.0).health()  # type: ignore[arg-type]


async def test_a_caller_who_leaves_cancels_the_work() -> None:
    handle = Handle("hang")
    task = asyncio.ensure_future(vectorize(handle))
    await until(lambda: bool(handle.responses))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle.responses[0].cancelled


@pytest.mark.parametrize("kind", [kind for kind in AtelierError.__subclasses__() if kind.__module__ == "serve.errors"])
def test_errors_survive_the_hop(kind: type[AtelierError]) -> None:
    back = pickle.loads(pickle.dumps(kind("reason", "field")))  # noqa: S301 (made in this very line)
    assert type(back) is kind
    assert (back.message, back.field, str(back)) == ("reason", "field", "field: reason")


class Items:
    """What a streaming handle returns: items, then an end or an error."""

    def __init__(self, items: list[Any]) -> None:
        self.items = list(items)
        self.cancelled = False
        self._replica_result_future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if item == "hang":
            await asyncio.sleep(60)
        if isinstance(item, Exception) and not isinstance(item, AtelierError):
            raise item
        return item

    def cancel(self) -> None:
        self.cancelled = True


class StreamHandle:
    def __init__(self, *streams: list[Any]) -> None:
        self.streams = [Items(items) for items in streams]
        self.asked: list[Any] = []

    @property
    def stream(self) -> StreamHandle:
        return self

    def remote(
        self, method: str, context: dict[str, str], *arguments: Any, urgency: Urgency = DEFAULT_URGENCY
    ) -> Items:
        self.asked.append(arguments)
        return self.streams[len(self.asked) - 1]


def stream(handle: StreamHandle, timeout_s: float = 30.0, *follow: Any) -> Any:
    return RemoteIllustrator(handle, timeout_s).stream(IllustrateOptions("red"), *follow)  # type: ignore[arg-type]


def preview(index: int, step: int) -> Preview:
    return Preview(index, step, 9, np.zeros((1, 1, 3), np.uint8))


def checkpoint(index: int, step: int) -> Checkpoint:
    return Checkpoint(index, step, b"")


DRAWN = Illustration((), Parameters("red", "", "toy", 8, 8, 9, 1.0, 0.0, "ddim", 1), 1, 0, 9, {}, {}, 0.1)


async def test_a_stream_goes_on_from_the_last_checkpoints_of_a_dead_replica() -> None:
    """A preview that was sent is not sent again, although its step is repeated."""
    first = [preview(0, 2), checkpoint(0, 2), checkpoint(1, 2), checkpoint(0, 4), preview(0, 6), preview(1, 2), DIED]
    second = [preview(0, 6), preview(1, 4), checkpoint(1, 4), preview(0, 8), DRAWN]
    handle = StreamHandle(first, second)
    old = checkpoint(1, 1), checkpoint(2, 1)
    told = [item async for item in stream(handle, 5.0, StreamOptions(checkpoint_every=2), old)]
    assert [(item.index, item.step) for item in told if isinstance(item, Preview)] == [
        *[(0, 2), (0, 6), (1, 2)],
        *[(1, 4), (0, 8)],
    ]
    assert told[-1] is DRAWN
    (options, follow, resume), (same, followed, resumed) = handle.asked
    assert (follow, resume) == (StreamOptions(checkpoint_every=2), old)
    assert (same, followed) == (options, follow)
    assert options.seed is not None  # so that the second attempt resumes the first
    assert {(one.index, one.step) for one in resumed} == {(0, 4), (1, 2), (2, 1)}


async def test_a_stream_without_checkpoints_begins_again_and_repeats_nothing() -> None:
    shown = [Progress(0, 9), preview(0, 1), Progress(3, 9), preview(0, 3)]
    handle = StreamHandle([*shown, DIED], [*shown, preview(0, 5), Progress(6, 9), DRAWN])
    told = [item async for item in stream(handle)]
    assert [item.step for item in told if isinstance(item, Preview)] == [1, 3, 5]
    assert [item.step for item in told if isinstance(item, Progress)] == [6]  # all arrived before the first was read
    assert [asked[2] for asked in handle.asked] == [(), ()]


async def test_a_replica_that_could_use_no_checkpoint_is_believed() -> None:
    """The drawing began anew, perhaps with other engines: its checkpoints are the ones that the next attempt can
    use."""
    handle = StreamHandle([checkpoint(0, 8), DIED], [checkpoint(0, 2), DRAWN])
    told = [item async for item in stream(handle)]
    assert [item.step for item in told if isinstance(item, Checkpoint)] == [2]


async def test_what_a_slow_reader_leaves_unread_is_bounded() -> None:
    """Ray would keep all of it."""
    many = [checkpoint(step % 2, step) for step in range(500)]
    handle = StreamHandle([preview(0, 1), *many, DRAWN])
    told = [item async for item in stream(handle)]
    assert [type(item) for item in told] == [Preview, Checkpoint, Checkpoint, Illustration]
    assert [item.step for item in told[1:3]] == [498, 499]


async def test_a_stream_that_dies_twice_or_fails_is_an_error() -> None:
    with pytest.raises(EngineUnavailable, match="Illustrator"):
        [item async for item in stream(StreamHandle([DIED], [DIED]))]
    with pytest.raises(Overloaded):
        [item async for item in stream(StreamHandle([preview(0, 1), Overloaded("full")]))]


async def test_a_stream_has_a_deadline_and_ends_with_its_reader() -> None:
    handle = StreamHandle([preview(0, 1), "hang"])
    with pytest.raises(DeadlineExceeded):
        [item async for item in stream(handle, timeout_s=0.05)]
    assert handle.streams[0].cancelled
    handle = StreamHandle([preview(0, 1), "hang"])
    reading = stream(handle)
    assert (await anext(reading)).step == 1
    await reading.aclose()
    assert handle.streams[0].cancelled


class Crossing(Handle):
    """Keeps what is passed with the call besides the arguments."""

    def __init__(self, *outcomes: Any) -> None:
        super().__init__(*outcomes)
        self.urgency: list[Urgency] = []

    def remote(self, method: str, *arguments: Any, urgency: Urgency = DEFAULT_URGENCY, **named: Any) -> Response:
        self.urgency.append(urgency)
        return super().remote(method, *arguments, **named)


async def test_what_is_left_of_the_time_crosses_and_the_priority() -> None:
    """D-052. The earlier of the caller's deadline and the site's own limit; less for the second attempt."""
    handle = Crossing("late death", "svg", "svg")
    with request_context.use(RequestContext(priority=Priority.LOW).with_timeout(20.0)):
        assert await vectorize(handle) == "svg"
    (first_s, first), (second_s, _) = handle.urgency
    assert first_s is not None
    assert second_s is not None
    assert 10 < first_s <= 20
    assert second_s <= first_s - 0.4
    assert first == Priority.LOW
    await vectorize(handle, timeout_s=15.0)
    assert 0.0 < (handle.urgency[-1][0] or 0.0) <= 15.0


async def test_nothing_is_asked_once_the_time_is_over() -> None:
    handle = Crossing("svg")
    with request_context.use(RequestContext(deadline=time.monotonic() - 1.0)), pytest.raises(DeadlineExceeded):
        await vectorize(handle)
    assert handle.urgency == []


class Ensemble:
    """Records the priority of each call."""

    def __init__(self) -> None:
        self.begun: list[RequestContext] = []

    async def vectorize(self, took_s: float) -> str:
        self.begun.append(request_context.current())
        await asyncio.sleep(took_s)
        return "svg"


async def test_a_replica_takes_out_who_waits_past_its_time_and_sheds_by_priority() -> None:
    ensemble = Ensemble()
    replica = Alone()
    replica._ensemble, replica._admission = ensemble, AdmissionQueue(1, 2)
    call = partial(Replica.call, replica, "vectorize", {})
    first = asyncio.create_task(call(0.6, urgency=(60.0, Priority.NORMAL)))
    await asyncio.sleep(0)
    late, low = [
        asyncio.create_task(call(0.0, urgency=urgency)) for urgency in ((0.1, Priority.NORMAL), (60.0, Priority.LOW))
    ]
    await asyncio.sleep(0)
    high = asyncio.create_task(call(0.0, urgency=(60.0, Priority.HIGH)))
    assert isinstance(await low, Overloaded)
    assert isinstance(await late, DeadlineExceeded)
    assert [await first, await high] == ["svg", "svg"]
    assert [asked.priority for asked in ensemble.begun] == [Priority.NORMAL, Priority.HIGH]
    assert all(asked.deadline is not None for asked in ensemble.begun)


def napping(asleep: bool) -> IdleState:
    return IdleState(lambda: asleep)


async def test_health_wakes_nobody() -> None:
    """A third state: no engine is called, and the stack is ready (A-113)."""
    handle = Handle()
    health = await RemoteVectorizer(handle, 5.0, napping(True)).health()  # type: ignore[arg-type]
    assert (health.asleep, health.engines, health.ready) == (("vectorizer",), {}, True)
    assert handle.responses == []


async def test_the_first_request_wakes_and_waits() -> None:
    handle = Handle("svg")
    remote = RemoteVectorizer(handle, 5.0, napping(True))  # type: ignore[arg-type]
    assert await remote.vectorize(b"", VectorizeOptions()) == "svg"


async def test_a_deadline_shorter_than_the_start_is_told_as_that() -> None:
    """503 with Retry-After, and not 504: a retry finds the ensemble awake."""
    handle = Handle("hang", ["quality"])
    remote = RemoteVectorizer(handle, 5.0, napping(True))  # type: ignore[arg-type]
    with pytest.raises(ScaledToZero) as caught, request_context.use(RequestContext().with_timeout(0.2)):
        await remote.vectorize(b"", VectorizeOptions())
    assert (caught.value.status, caught.value.retry_after_s) == (503, 10)
    assert handle.responses[0].cancelled
    await it_is_woken(handle)


async def test_a_requests_own_deadline_counts_while_nobody_is_there_to_keep_it() -> None:
    began, handle = time.monotonic(), Handle("hang", ["unet"])
    remote = RemoteIllustrator(handle, 60.0, napping(True))  # type: ignore[arg-type]
    with pytest.raises(ScaledToZero):
        await remote.draw(IllustrateOptions("red apple", seed=1, timeout_s=0.2))
    assert time.monotonic() - began < 30
    await it_is_woken(handle)


class Streaming(Handle):
    """Its streams hang."""

    def __init__(self, *outcomes: Any) -> None:
        super().__init__(*outcomes)
        self.stream = StreamHandle(["hang"])


@pytest.mark.parametrize("streams", [False, True])
async def test_the_start_goes_on_when_who_asked_leaves(streams: bool) -> None:
    """A client that disconnects, or whose request another service draws."""
    handle = Streaming(["unet"]) if streams else Streaming("hang", ["unet"])
    remote = RemoteIllustrator(handle, 60.0, napping(True))  # type: ignore[arg-type]
    options = IllustrateOptions("red apple", seed=1)
    asking = asyncio.ensure_future(anext(remote.stream(options)) if streams else remote.draw(options))
    await until(lambda: bool(handle.stream.asked or handle.responses))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: not handle.outcomes)
    assert not handle.responses[-1].cancelled


async def test_who_leaves_one_that_is_awake_asks_it_nothing() -> None:
    handle = Handle("hang", ["unet"])
    remote = RemoteIllustrator(handle, 60.0, napping(False))  # type: ignore[arg-type]
    asking = asyncio.create_task(remote.draw(IllustrateOptions("red apple", seed=1)))
    await until(lambda: len(handle.responses) == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert remote._waking is not None
    await remote._waking
    assert len(handle.responses) == 1


async def it_is_woken(handle: Handle) -> None:
    await until(lambda: len(handle.responses) == 2)
    assert not handle.responses[1].cancelled


async def test_one_that_is_awake_and_late_is_late() -> None:
    remote = RemoteVectorizer(Handle("hang"), 0.2, napping(False))  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded):
        await remote.vectorize(b"", VectorizeOptions())


async def test_what_was_told_once_wakes_nobody() -> None:
    handle = Handle(["quality"])
    remote = RemoteVectorizer(handle, 5.0, napping(True))  # type: ignore[arg-type]
    assert await remote.engines() == ["quality"]
    assert await remote.engines() == ["quality"]
    assert len(handle.responses) == 1
    assert await remote.statistics("quality") == {"model_stats": []}


async def test_who_falls_asleep_while_asked_for_health_is_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.cluster.hop.remote_ensemble, "HEALTH_TIMEOUT_S", 1.2)
    looks = iter([False, True])
    remote = RemoteVectorizer(Handle("hang"), 5.0, IdleState(lambda: next(looks)))  # type: ignore[arg-type]
    assert (await remote.health()).asleep == ("vectorizer",)
