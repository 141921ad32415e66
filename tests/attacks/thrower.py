"""Sends malformed requests to every endpoint of a site, some concurrently, and records the responses."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import odd_bytes
import odd_calls
import websockets
from keyed_door import KeyedSite
from odd_requests import AttackRequest, Requests, document_of
from tritonclient.grpc import service_pb2 as pb
from verdicts import Seen, fault_of
from whole_door import Answer, send_request

CONCURRENCY = 6
SERVICE = "/inference.GRPCInferenceService"
_REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED")
GRPC_FINE = frozenset(["OK", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", *_REFUSALS])


class Thrower:
    """``keys`` are secrets; None stands for no key."""

    def __init__(
        self, site: KeyedSite, seed: int, keys: list[str | None], admin: str, known: list[str], door: tuple[str, int]
    ) -> None:
        self._site, self._keys, self._admin, self._door = site, keys, admin, door
        self._secrets = {key.encode() for key in keys if key and len(key) > 20}
        self._draw = random.Random(seed)
        self._requests = Requests(self._draw, document_of(site.app), known)
        self._known = known
        self.seen = Seen()

    async def throw(self, count: int, channel: grpc.aio.Channel) -> None:
        numbers = iter(range(count))
        kinds: list[Callable[[], Awaitable[None]]] = [self._http] * 70
        kinds += [lambda: self._call(channel)] * 18 + [self._raw] * 8 + [lambda: self._stream(channel)] * 2
        kinds += [self._socket] * 2

        async def worker() -> None:
            for number in numbers:
                try:
                    async with asyncio.timeout(120):
                        await self._draw.choice(kinds)()
                except TimeoutError:
                    self.seen.faults.append(f"request {number} was not answered")

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))

    def _peer(self) -> str:
        """Enough addresses that wrong keys get 401 rather than a wait."""
        return f"198.{self._draw.randrange(18, 20)}.{self._draw.randrange(256)}.{self._draw.randrange(1, 255)}"

    def _key_header(self, key: str | None = None) -> tuple[bytes, bytes] | None:
        key = key or self._draw.choice(self._keys)
        if key is None:
            return None
        name, before = self._draw.choice([(b"authorization", "Bearer "), (b"x-api-key", "")])
        return name, f"{before}{key}".encode()

    async def _http(self) -> None:
        request = self._requests.generate()
        key_header = self._key_header(
            self._admin if b"/api/admin" in request.path and self._draw.random() < 0.6 else None
        )
        request = AttackRequest(
            request.method, request.path, [*request.headers, *([key_header] if key_header else [])], request.body
        )
        try:
            answer = await send_request(self._site.whole, request, self._peer())
        except TimeoutError:
            raise
        except Exception as error:
            self.seen.faults.append(f"raised {error!r}: {request.describe()}")
            return
        self.seen.answers[f"http {answer.status}"] += 1
        fault = fault_of(request.path, request.method, answer)
        if any(secret in answer.body for secret in self._secrets):
            fault = "a key in the answer"
        if fault is not None:
            self.seen.faults.append(f"{fault}: {request.describe()} -> {answer.body[:300]!r}")
        self._remember(request, answer)

    def _remember(self, request: AttackRequest, answer: Answer) -> None:
        """Later requests use the ids of objects created so far."""
        if request.method == "POST" and answer.status in (200, 201, 202):
            with contextlib.suppress(ValueError, AttributeError):
                document = answer.json()
                created_id = document.get("id") or document.get("generation_id") or document.get("job_id")
                if isinstance(created_id, str):
                    self._known.append(created_id)
                    del self._known[3:-20]

    async def _raw(self) -> None:
        key_header = self._key_header()
        data = odd_bytes.raw(self._draw, b": ".join(key_header) if key_header else b"")
        reader, writer = await asyncio.open_connection(*self._door)
        received = b""
        try:
            writer.write(data)
            with contextlib.suppress(OSError):
                writer.write_eof()
            async with asyncio.timeout(0.5):
                received = await reader.read(65536)
        except (OSError, TimeoutError):
            pass  # it may close on invalid HTTP, or wait for the rest
        finally:
            writer.close()
        status = received[9:12].decode("latin-1") if received.startswith(b"HTTP/1") else "closed"
        self.seen.answers[f"socket {status}"] += 1
        if status[0] == "5" and status != "501":
            self.seen.faults.append(f"{status} on a socket: {data[:400]!r} -> {received[:300]!r}")

    async def _socket(self) -> None:
        """A WebSocket with invalid messages."""
        path = self._draw.choice([*self._known, "0" * 32, "%00", "..%2f", "'--"])
        key_header = self._key_header()
        headers = {key_header[0].decode(): key_header[1].decode()} if key_header else {}
        url = f"ws://{self._door[0]}:{self._door[1]}/v1/jobs/{path}/ws"
        try:
            async with websockets.connect(url, additional_headers=headers, open_timeout=60, close_timeout=1) as socket:
                for _ in range(self._draw.randrange(4)):
                    await socket.send(self._draw.choice(odd_bytes.MESSAGES))
                async with asyncio.timeout(0.3):
                    while True:
                        await socket.recv()
        except websockets.InvalidStatus as error:
            code: Any = error.response.status_code
        except websockets.ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else "closed"
        except TimeoutError:
            code = "follows on"
        else:
            code = "over"
        self.seen.answers[f"websocket {code}"] += 1
        if code == 1011 or str(code).startswith("5"):
            self.seen.faults.append(f"{code} of the WebSocket of {path}")

    def _metadata(self) -> list[tuple[str, str]]:
        key_header = self._key_header()
        return [(key_header[0].decode(), key_header[1].decode())] if key_header else []

    async def _call(self, channel: grpc.aio.Channel) -> None:
        method, message = odd_calls.call(self._draw)
        try:
            await channel.unary_unary(f"{SERVICE}/{method}")(message, metadata=self._metadata(), timeout=60)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.seen.answers[f"grpc {code}"] += 1
        if code not in GRPC_FINE:
            self.seen.faults.append(f"{code}: {method} {message[:300]!r}")

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        messages = [odd_calls.message(self._draw) for _ in range(self._draw.randrange(6))]
        call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(
            iter(messages), metadata=self._metadata(), timeout=20
        )
        try:
            answers = [pb.ModelStreamInferResponse.FromString(raw) async for raw in call]
            code = (await call.code()).name
        except grpc.aio.AioRpcError as error:
            answers, code = [], error.code().name
            if "from Core" in (error.details() or ""):
                code = "UNAUTHENTICATED"  # refused while this client was still sending
        self.seen.answers[f"stream {code}"] += 1
        messages_text = " ".join(answer.error_message for answer in answers)
        if code not in GRPC_FINE or "internal" in messages_text:
            self.seen.faults.append(f"{code} of a stream: {messages_text[:300]} {[one[:200] for one in messages]}")

    async def watch_health(self) -> None:
        """Measures in processor time of this process, which serves and attacks: other processes take none of it."""
        while True:
            began = time.process_time()
            try:
                async with asyncio.timeout(60):
                    reader, writer = await asyncio.open_connection(*self._door)
                    writer.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    received = await reader.read()
                    writer.close()
                if not received.startswith(b"HTTP/1.1 200"):
                    self.seen.faults.append(f"health: {received[:100]!r}")
            except (OSError, TimeoutError) as error:
                self.seen.faults.append(f"health: {error!r}")
            self.seen.health_s.append(time.process_time() - began)
            await asyncio.sleep(0.2)
