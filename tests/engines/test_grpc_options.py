"""Channels between our own processes: restarted servers are used at once, and slow ones are waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc.aio

from serve.engines.grpc_options import NO_PROXY, RECONNECT

LATE_S = 1.5


@contextlib.asynccontextmanager
async def late_server() -> AsyncIterator[int]:
    """The port of a server that accepts a connection but begins HTTP/2 only ``LATE_S`` later, like one without CPU
    time."""
    server = grpc.aio.server()
    behind = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LATE_S)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(pipe(reader, to_server), pipe(from_server, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as door:
        yield door.sockets[0].getsockname()[1]
    await server.stop(0)


async def test_slow_handshake_is_waited_for() -> None:
    async with late_server() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}", [*RECONNECT, NO_PROXY]) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
