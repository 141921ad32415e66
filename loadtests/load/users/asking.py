"""What all users share: one request after the other, timed without the checks of its answer, and counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

import gevent
from geventhttpclient.response import HTTPParseError
from locust import User, constant, task
from tritonclient.utils import InferenceServerException

from loadtests.load.answers import Known, Wrong
from loadtests.load.notes import Notes
from loadtests.load.requests import Requests

TIMEOUT_S = 120.0
PAUSE_S = 1.0
"""After a failure, so that a stack that refuses is not flooded."""
FAILURES = (Wrong, OSError, ValueError, LookupError, TypeError, HTTPParseError, InferenceServerException)
"""What may come of an answer: none, one that says no, one that is not what it should be."""

Answer = TypeVar("Answer")


class Asking(User):  # type: ignore[misc]
    """``act`` asks once, in the words of ``vocabulary``."""

    abstract = True
    wait_time = constant(0)
    vocabulary = ""
    known: ClassVar[Known] = Known()
    notes: ClassVar[Notes] = Notes()

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.key: str = options.key
        self.grpc_address: str = options.grpc_address
        self.requests = Requests(options.catalogue, options.steps, options.tier)

    def act(self) -> bool:
        """Whether all went well."""
        raise NotImplementedError

    @task
    def turn(self) -> None:
        if not self.act():
            gevent.sleep(PAUSE_S)

    def ask(self, name: str, send: Callable[[], Answer], check: Callable[[Answer], object]) -> Answer | None:
        """What ``send`` got, or None for a failure, or when ``check`` finds it ``Wrong``. Only ``send`` is timed."""
        began = time.perf_counter()
        answer, failure = None, None
        try:
            answer = send()
        except FAILURES as error:
            failure = error
        took_ms = (time.perf_counter() - began) * 1e3
        if answer is not None:
            try:
                check(answer)
            except FAILURES as error:
                failure = error
        self.count(name, took_ms, failure)
        return None if failure else answer

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
