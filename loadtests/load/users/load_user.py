"""What all users share: one unit of work after the other, timed without the checks of its answer, and counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, TypeVar, cast

import gevent
from locust import User, constant, task
from tritonclient.utils import InferenceServerException

from loadtests.load.answers import ExpectedAnswers, Wrong
from loadtests.load.observations import Observations
from loadtests.load.outcome import STEP
from loadtests.load.requests import Requests

TIMEOUT_S = 120.0
PAUSE_S = 1.0
"""After a failure, so that a stack that refuses is not flooded."""

Answer = TypeVar("Answer")


class LoadUser(User):  # type: ignore[misc]
    """``act`` does one unit of work (a conversion, a picture, a job), in the words of ``vocabulary``."""

    abstract = True
    wait_time = constant(0)
    vocabulary = ""
    known: ClassVar[ExpectedAnswers] = ExpectedAnswers()
    notes: ClassVar[Observations] = Observations()

    def on_start(self) -> None:
        self.notes.started[type(self).__name__] += 1
        options = self.environment.parsed_options
        self.key: str = options.key
        self.grpc_address: str = options.grpc_address
        self.limit_s: float = options.limit_s
        self.requests = Requests(options.catalogue, options.steps, options.tier)

    def act(self) -> bool:
        """Whether all went well."""
        raise NotImplementedError

    @task
    def turn(self) -> None:
        if not self.act():
            gevent.sleep(PAUSE_S)

    def ask(self, name: str, send: Callable[[], Answer], check: Callable[[Answer], object]) -> Answer | None:
        """One unit of work: what ``send`` got within ``limit_s``, or None for a failure, or when ``check`` objects.

        Only ``send`` is timed. Whatever is raised is a failure of this unit, and counts: also the end of the run.
        """
        began = time.perf_counter()
        answer, failure = None, None
        try:
            with gevent.Timeout(self.limit_s, Wrong(f"not done within {self.limit_s:g} s")):
                answer = send()
        except gevent.GreenletExit:
            self._done(name, time.perf_counter() - began, Wrong("not done when the run was ended"))
            raise
        except Exception as error:
            failure = error
        took_s = time.perf_counter() - began
        if failure is None:
            try:
                check(cast("Answer", answer))
            except Exception as error:
                failure = error
        self._done(name, took_s, failure)
        return None if failure else answer

    def _done(self, name: str, took_s: float, failure: Exception | None) -> None:
        self.notes.counted[type(self).__name__] += 1
        self.count(name, took_s * 1e3, failure)

    def step(self, name: str, send: Callable[[], Answer]) -> Answer:
        """A part of a unit of work: has its line in the tables, and is in no rate. Raises what ``send`` raises."""
        began, failure = time.perf_counter(), None
        try:
            return send()
        except Exception as error:
            failure = error
            raise
        finally:
            self.count(STEP + name, (time.perf_counter() - began) * 1e3, failure)

    def count(self, name: str, took_ms: float, failure: Exception | None = None) -> None:
        if failure is not None:
            self.notes.failed(f"{self.vocabulary}: {name}", in_words(failure))
        self.environment.events.request.fire(
            request_type=self.vocabulary,
            name=name,
            response_time=took_ms,
            response_length=0,
            exception=failure,
            context={},
        )


def in_words(failure: Exception) -> str:
    if isinstance(failure, Wrong):
        return str(failure)
    if isinstance(failure, InferenceServerException):
        return f"{failure.status() or 'no status'}: {failure.message()}"[:160]
    return f"{type(failure).__name__}: {failure}"[:160]
