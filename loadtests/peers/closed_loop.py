"""Closed-loop callers over raw sockets: each sends prepared bytes again after every answer.

One thread serves all callers with a selector, so that a request costs the caller some 30 µs of processor time: a caller
in Python HTTP or gRPC libraries needs as much as the server and would be what is measured on a machine of two cores.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

TIMEOUT_S = 120.0
RECEIVE_BYTES = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_END_OF_HEAD, _LAST_CHUNK = b"\r\n\r\n", b"\r\n0\r\n\r\n"

Check = Callable[[bytes, bytes], None]
"""Checks the head and the body of an answer. Raises ValueError or LookupError for a wrong one."""


@dataclass
class Samples:
    """One peer at one number of callers: the waits of all rounds, and each round's answers per second."""

    waits_s: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    """Processor time per answer by kind of process, one value a round."""
    quantiles_ms: dict[float, list[float]] = field(default_factory=dict)
    """Instead of ``waits_s``, where the caller is another program that reports quantiles; one value a round."""

    def quantile_ms(self, share: float) -> float:
        if self.quantiles_ms:
            return float(np.median(self.quantiles_ms[share]))
        return float(np.quantile(self.waits_s, share)) * 1e3 if self.waits_s else float("nan")

    @property
    def rate(self) -> float:
        return float(np.median(self.per_second)) if self.per_second else 0.0

    def cpu(self, kind: str) -> float:
        return float(np.median(self.cpu_ms.get(kind, [float("nan")])))


def post(address: str, path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a request on a connection that is kept. ``address``: host:port."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection:
    """One caller: its socket, and the answer that it has so far."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._received = b""
        self._end = 0
        self._body_at = 0

    def send(self, request: bytes) -> None:
        self._received, self._end = b"", 0
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[bytes, bytes] | None:
        """Head and body of the answer; None until it is whole."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the connection was closed")
        self._received = self._received + data if self._received else data
        if not self._end and not self._read_head():
            return None
        if self._end < 0:
            if not self._received.endswith(_LAST_CHUNK):
                return None
        elif len(self._received) < self._end:
            return None
        return self._received[: self._body_at], self._received[self._body_at :]

    def _read_head(self) -> bool:
        at = self._received.find(_END_OF_HEAD)
        if at < 0:
            return False
        head = self._received[: at + 2]
        self._body_at = at + len(_END_OF_HEAD)
        if (length := _LENGTH.search(head)) is not None:
            self._end = self._body_at + int(length[1])
        elif _CHUNKED.search(head):
            self._end = -1
        else:
            self._end = self._body_at
        return True


def run_closed_loop(
    address: str, requests: Iterator[bytes], check: Check, callers: int, seconds: float, samples: Samples
) -> int:
    """What is in flight at the end is waited for and counts, in answers and in time. The number of answers."""
    known: set[bytes] = set()
    before = len(samples.waits_s)
    began = time.perf_counter()
    end = began + seconds
    with selectors.DefaultSelector() as selector:

        def open_connection() -> None:
            connection = _Connection(address)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(requests))

        for _ in range(callers):
            open_connection()
        while selector.get_map():
            ready = selector.select(TIMEOUT_S)
            if not ready:
                samples.failures.append(f"no answer within {TIMEOUT_S:g} s")
                break
            for key, _mask in ready:
                connection: _Connection = key.data
                try:
                    answer = connection.receive()
                    if answer is None:
                        continue
                    took_s = time.perf_counter() - connection.sent_at
                    _check(answer, check, known)
                    samples.waits_s.append(took_s)
                except (OSError, ValueError, LookupError) as error:
                    samples.failures.append(f"{type(error).__name__}: {error}"[:160])
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    if time.perf_counter() < end and len(samples.failures) < 1000:
                        open_connection()
                    continue
                if time.perf_counter() < end:
                    connection.send(next(requests))
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
    count = len(samples.waits_s) - before
    samples.per_second.append(count / (time.perf_counter() - began))
    return count


def _check(answer: tuple[bytes, bytes], check: Check, known: set[bytes]) -> None:
    """A body that was found right before is not decoded again."""
    head, body = answer
    if head[9:12] != b"200":
        raise ValueError(f"{head[9:12].decode()}: {body[:100]!r}")
    if body not in known:
        check(head, body)
        if len(known) < 64:
            known.add(body)


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Another first each time, and every other round backwards: no peer always follows the same one."""
    step = -1 if by % 2 else 1
    return [names[(by + step * place) % len(names)] for place in range(len(names))]
