"""Threads of SQLite connections end without an error, also when their loop is gone first."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from serve.state.sqlite import Connection, connect


def test_a_loop_that_closes_before_a_statement_is_done(tmp_path: Path) -> None:
    """Who waited for it has left, as a request whose time is over; pytest fails for errors of threads."""
    made: list[Connection] = []
    closed = threading.Event()

    async def leave() -> None:
        connection = await connect(str(tmp_path / "file"), 1.0)
        made.append(connection)
        await connection.create_function("wait", 0, lambda: closed.wait(60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.execute("SELECT wait()")
        connection.stop()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    closed.set()
    made[0]._thread.join(10)
    assert not made[0]._thread.is_alive()
    assert made[0]._connection is None, "it is closed, and with it its lock"
