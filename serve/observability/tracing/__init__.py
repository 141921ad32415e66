"""What is under way in this task: the request's id, and the span that work belongs to.

Doors begin a trace (`entered`), whatever works for them adds to it (`span`, `step`, `note`), and what goes to another
process takes its place along (`carried`). Without a collector (`export`) only ids travel, and the rest costs next to
nothing. A span tells what was done and how long it took: no prompt, name, key or address.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serve.errors import AtelierError

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool

TRACEPARENT, REQUEST_ID = "traceparent", "request_id"
RESPONSE = "traceresponse"
"""The header of an answer that names its trace (W3C Trace Context, level 2)."""

_KINDS = {name: getattr(SpanKind, name.upper()) for name in ("internal", "server", "client", "producer", "consumer")}
_PROPAGATOR = TraceContextTextMapPropagator()
_GONE = (asyncio.CancelledError, GeneratorExit)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """``folded``: what is asked for now is told as an event of ``span``, and has no span of its own."""

    request_id: str = ""
    span: Span | None = None
    folded: bool = False

    @property
    def recording(self) -> Span | None:
        """The span, if it is going to be sent."""
        return self.span if self.span is not None and self.span.is_recording() else None


_NOWHERE = TraceContext()
_here: ContextVar[TraceContext] = ContextVar("here", default=_NOWHERE)
_tracer: Any = None


def trace_with(tracer: Any) -> None:
    """From now on, of this process; None: not any more."""
    global _tracer
    _tracer = tracer


def here() -> TraceContext:
    return _here.get()


def go_on(there: TraceContext) -> None:
    """For the rest of this context, which has nothing under way yet."""
    _here.set(there)


def carried() -> dict[str, str]:
    """What another process needs to go on here, as plain text."""
    now = _here.get()
    found = {REQUEST_ID: now.request_id} if now.request_id else {}
    if now.span is not None:
        _PROPAGATOR.inject(found, context=set_span_in_context(now.span))
    return found


def response() -> str | None:
    """The value of the header `traceresponse`."""
    return carried().get(TRACEPARENT)


def metadata() -> tuple[tuple[str, str], ...] | None:
    """For a gRPC call of our own engines, whose spans then join the trace."""
    if _here.get().recording is None:
        return None
    return ((TRACEPARENT, carried()[TRACEPARENT]),)


def note(**attributes: Value) -> None:
    """Of the span under way, by names whose dots are written as two underscores."""
    if (found := _here.get().recording) is not None:
        found.set_attributes(_named(attributes))


def event(name: str, **attributes: Value) -> None:
    if (found := _here.get().recording) is not None:
        found.add_event(name, _named(attributes))


class _Block:
    """Sets what is under way for its block. A generator may be closed from elsewhere: then there is nothing to undo."""

    __slots__ = ("_token",)
    _token: Token[TraceContext] | None

    def _go(self, there: TraceContext) -> None:
        self._token = _here.set(there)

    def _back(self) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):
                _here.reset(self._token)
            self._token = None


class span(_Block):
    """A part of what is under way; nothing where that is not recorded."""

    __slots__ = ("_attributes", "_kind", "_name", "_span")

    def __init__(self, name: str, kind: Kind = "internal", **attributes: Value) -> None:
        self._token = None
        self._name, self._kind, self._attributes = name, kind, attributes
        self._span: Span | None = None

    def __enter__(self) -> Self:
        now = _here.get()
        if _tracer is not None and not now.folded and (parent := now.recording) is not None:
            self._begin(set_span_in_context(parent), now)
        return self

    def _begin(self, context: Any, now: TraceContext) -> None:
        attributes = _named(self._attributes)
        self._span = _tracer.start_span(self._name, context=context, kind=_KINDS[self._kind], attributes=attributes)
        self._go(replace(now, span=self._span, folded=False))

    def note(self, **attributes: Value) -> None:
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def failed(self, kind: str) -> None:
        """Without a message: it may repeat what a client said."""
        if self._span is not None:
            self._span.set_attribute("error.type", kind)
            self._span.set_status(Status(StatusCode.ERROR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            if error is not None:
                self._tell(error)
            self._span.end()
        self._back()

    def _tell(self, error: BaseException) -> None:
        if isinstance(error, _GONE) or (isinstance(error, AtelierError) and error.status < 500):
            self.note(error__type=type(error).__name__)  # the client's, not ours
        else:
            self.failed(type(error).__name__.lstrip("_"))


class entered(span):
    """Where work comes into this process, with what the caller ``carried``: a client's headers, or another process."""

    __slots__ = ("_carrier",)

    def __init__(
        self, name: str, carrier: Mapping[str, str] | None, kind: Kind = "server", **attributes: Value
    ) -> None:
        super().__init__(name, kind, **attributes)
        self._carrier = carrier or {}

    def __enter__(self) -> Self:
        now = TraceContext(self._carrier.get(REQUEST_ID, ""))
        if _tracer is None:
            self._go(now)
        else:
            # Of what came along the parent alone: the rest may hold anything.
            parent = {name: self._carrier[name] for name in (TRACEPARENT,) if name in self._carrier}
            self._begin(_PROPAGATOR.extract(parent, context=Context()), now)
        return self


class continued(entered):
    """As `entered`, where nothing begins: what came along is gone on with, or not traced."""

    __slots__ = ()

    def __enter__(self) -> Self:
        if TRACEPARENT in self._carrier:
            return super().__enter__()
        self._go(TraceContext(self._carrier.get(REQUEST_ID, "")))
        return self


class step(_Block):
    """A part that is told as an event with its duration: a picture of fifty steps stays one line to look at."""

    __slots__ = ("_attributes", "_began", "_name")

    def __init__(self, name: str, **attributes: Value) -> None:
        self._token = None
        self._name, self._attributes, self._began = name, attributes, 0.0

    def __enter__(self) -> Self:
        now = _here.get()
        if now.recording is not None:
            self._began = time.perf_counter()
            self._go(replace(now, folded=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            told: dict[str, Value] = {} if error is None else {"error__type": type(error).__name__}
            event(self._name, duration_ms=(time.perf_counter() - self._began) * 1000, **self._attributes, **told)
        self._back()


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in attributes.items()}
