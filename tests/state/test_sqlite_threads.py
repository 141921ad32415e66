"""Threads of SQLite connections end without an error, even after their event loop is closed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from serve.state.sqlite import Connection, connect


def test_loop_closed_before_a_statement_ends(tmp_path: Path) -> None:
    """The waiting request has timed out; pytest fails on errors in threads."""
    connections: list[Connection] = []
    closed = threading.Event()

    async def time_out() -> None:
        connection = await connect(str(tmp_path / "file"), 1.0)
        connections.append(connection)
        await connection.create_function("wait", 0, lambda: closed.wait(60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.execute("SELECT wait()")
        connection.stop()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(time_out())
    loop.close()
    closed.set()
    connections[0]._thread.join(60)
    assert not connections[0]._thread.is_alive()
    assert connections[0]._connection is None, "it is closed, and with it its lock"
