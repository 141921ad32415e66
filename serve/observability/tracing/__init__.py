"""Trace context of the current task: request id and span.

APIs begin a trace (`entry_span`), code below adds to it (`span`, `step`, `note`), and calls to other processes carry it
(`carrier`). Without a collector (`export`) only ids travel, at almost no cost. Spans contain operations and durations,
but no prompts, names, keys or addresses.
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
"""Response header with the trace id (W3C Trace Context, level 2)."""

_KINDS = {name: getattr(SpanKind, name.upper()) for name in ("internal", "server", "client", "producer", "consumer")}
_PROPAGATOR = TraceContextTextMapPropagator()
_CLIENT_GONE = (asyncio.CancelledError, GeneratorExit)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """``folded``: nested operations become events of ``span`` instead of spans."""

    request_id: str = ""
    span: Span | None = None
    folded: bool = False

    @property
    def recording(self) -> Span | None:
        """The span, if it is sampled."""
        return self.span if self.span is not None and self.span.is_recording() else None


_NO_CONTEXT = TraceContext()
_current: ContextVar[TraceContext] = ContextVar("here", default=_NO_CONTEXT)
_tracer: Any = None


def set_tracer(tracer: Any) -> None:
    """Set the tracer of this process; None disables tracing."""
    global _tracer
    _tracer = tracer


def current() -> TraceContext:
    return _current.get()


def resume(there: TraceContext) -> None:
    """Set it for the rest of this task."""
    _current.set(there)


def carrier() -> dict[str, str]:
    """The context for another process, as plain text."""
    now = _current.get()
    found = {REQUEST_ID: now.request_id} if now.request_id else {}
    if now.span is not None:
        _PROPAGATOR.inject(found, context=set_span_in_context(now.span))
    return found


def response() -> str | None:
    """The value of the header `traceresponse`."""
    return carrier().get(TRACEPARENT)


def metadata() -> tuple[tuple[str, str], ...] | None:
    """Metadata of a gRPC call to an engine, whose spans then join the trace."""
    if _current.get().recording is None:
        return None
    return ((TRACEPARENT, carrier()[TRACEPARENT]),)


def note(**attributes: Value) -> None:
    """Set attributes of the current span; two underscores in names become dots."""
    if (found := _current.get().recording) is not None:
        found.set_attributes(_named(attributes))


def event(name: str, **attributes: Value) -> None:
    if (found := _current.get().recording) is not None:
        found.add_event(name, _named(attributes))


def error_type(error: BaseException) -> str:
    """The value of the attribute ``error.type``."""
    return error.label() if isinstance(error, AtelierError) else type(error).__name__.lstrip("_")


class _Block:
    """Sets the context for its block. A generator may be closed from another task; then there is nothing to restore."""

    __slots__ = ("_token",)
    _token: Token[TraceContext] | None

    def _enter(self, there: TraceContext) -> None:
        self._token = _current.set(there)

    def _restore(self) -> None:
        if self._token is not None:
            with contextlib.suppress(ValueError):
                _current.reset(self._token)
            self._token = None


class span(_Block):
    """A child span of the current one; nothing if that is not sampled."""

    __slots__ = ("_attributes", "_kind", "_name", "_span")

    def __init__(self, name: str, kind: Kind = "internal", **attributes: Value) -> None:
        self._token = None
        self._name, self._kind, self._attributes = name, kind, attributes
        self._span: Span | None = None

    def __enter__(self) -> Self:
        now = _current.get()
        if _tracer is not None and not now.folded and (parent := now.recording) is not None:
            self._begin(set_span_in_context(parent), now)
        return self

    def _begin(self, context: Any, now: TraceContext) -> None:
        attributes = _named(self._attributes)
        self._span = _tracer.start_span(self._name, context=context, kind=_KINDS[self._kind], attributes=attributes)
        self._enter(replace(now, span=self._span, folded=False))

    def note(self, **attributes: Value) -> None:
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def failed(self, kind: str) -> None:
        """Mark as failed. Without a message, which may contain client data."""
        if self._span is not None:
            self._span.set_attribute("error.type", kind)
            self._span.set_status(Status(StatusCode.ERROR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            if error is not None:
                self._record_error(error)
            self._span.end()
        self._restore()

    def _record_error(self, error: BaseException) -> None:
        if isinstance(error, _CLIENT_GONE) or (isinstance(error, AtelierError) and error.status < 500):
            self.note(error__type=error_type(error))  # the client's error, not ours
        else:
            self.failed(error_type(error))


class entry_span(span):
    """Root span of work that enters this process with a caller's context: from request headers or another process."""

    __slots__ = ("_carrier",)

    def __init__(
        self, name: str, carrier: Mapping[str, str] | None, kind: Kind = "server", **attributes: Value
    ) -> None:
        super().__init__(name, kind, **attributes)
        self._carrier = carrier or {}

    def __enter__(self) -> Self:
        now = TraceContext(self._carrier.get(REQUEST_ID, ""))
        if _tracer is None:
            self._enter(now)
        else:
            # Only the parent: other entries may contain anything.
            parent = {name: self._carrier[name] for name in (TRACEPARENT,) if name in self._carrier}
            self._begin(_PROPAGATOR.extract(parent, context=Context()), now)
        return self


class continued_span(entry_span):
    """As `entry_span`, but without starting a trace: untraced work stays untraced."""

    __slots__ = ()

    def __enter__(self) -> Self:
        if TRACEPARENT in self._carrier:
            return super().__enter__()
        self._enter(TraceContext(self._carrier.get(REQUEST_ID, "")))
        return self


class step(_Block):
    """An operation recorded as an event with its duration, to keep traces of many steps readable."""

    __slots__ = ("_attributes", "_began", "_name")

    def __init__(self, name: str, **attributes: Value) -> None:
        self._token = None
        self._name, self._attributes, self._began = name, attributes, 0.0

    def __enter__(self) -> Self:
        now = _current.get()
        if now.recording is not None:
            self._began = time.perf_counter()
            self._enter(replace(now, folded=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            outcome: dict[str, Value] = {} if error is None else {"error__type": error_type(error)}
            event(self._name, duration_ms=(time.perf_counter() - self._began) * 1000, **self._attributes, **outcome)
        self._restore()


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in attributes.items()}
