"""The pool: values, errors, deadlines, cancellation, killed workers, and a bounded queue."""

from __future__ import annotations

import asyncio
import math
import operator
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.fork_server import LENGTH
from serve.ensembles.vectorizer.processes import WorkerLost, WorkerProcess
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.ensembles.vectorizer.worker_protocol import pack
from serve.errors import BadImage, DeadlineExceeded, EngineUnavailable, Overloaded
from serve.vector.image import ImageLimits


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(2, max_waiting=3)
    await pool.start()
    yield pool
    await pool.close()


in_module_loop = pytest.mark.asyncio(loop_scope="module")


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


async def until_gone(pid: int, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not gone(pid) and time.monotonic() < end:  # noqa: ASYNC110 (another process has no event to wait for)
        await asyncio.sleep(0.01)
    return gone(pid)


async def until_full(workers: WorkerPool) -> None:
    """Workers that a test killed are replaced a moment later."""
    while len(workers.pids) < workers.count:  # noqa: ASYNC110 (another process has no event to wait for)
        await asyncio.sleep(0.01)


@in_module_loop
async def test_values_and_errors_are_returned(workers: WorkerPool) -> None:
    assert await workers.run(None, operator.add, 2, 3) == 5
    with pytest.raises(BadImage, match="empty") as raised:
        await workers.run(None, tasks.inspect, b"", ImageLimits())
    assert raised.value.field == "image"


@in_module_loop
async def test_foreign_error_becomes_a_fault_without_details(workers: WorkerPool) -> None:
    with pytest.raises(TaskFault) as raised:
        await workers.run(None, math.sqrt, -1)
    assert "math" not in str(raised.value)
    assert await workers.run(None, operator.add, 1, 1) == 2


@in_module_loop
async def test_unserializable_values_are_refused(workers: WorkerPool) -> None:
    """Arguments are the caller's error, a result is the task's; neither costs a worker."""
    await until_full(workers)
    before = workers.pids
    for unfit in (object(), {1, 2}):
        with pytest.raises(TypeError, match="does not travel"):
            await workers.run(None, operator.not_, unfit)
    with pytest.raises(TypeError, match="no function of a module"):
        await workers.run(None, b"".join, [])
    with pytest.raises(TaskFault):
        await workers.run(None, os.stat, "/")
    assert workers.pids == before


NOISE = [b"noise", b"", pack(7), pack(("value",)), pack((1, 2)), pack(("value", 7))[:-1]]


@pytest.mark.parametrize("answer", NOISE)
async def test_worker_that_sends_noise_is_lost(answer: bytes) -> None:
    parent_socket, child_socket = socket.socketpair()
    child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 (a moment)
    worker = await WorkerProcess.connect(child.pid, parent_socket)
    with child_socket:
        child_socket.sendall(LENGTH.pack(len(answer)) + answer)
        with pytest.raises(WorkerLost):
            await worker.ask(b"")
    worker.kill()
    child.wait()


@in_module_loop
async def test_tasks_run_in_parallel_processes(workers: WorkerPool, tmp_path: Path) -> None:
    """Each end of a pipe is opened only when the other one is."""
    os.mkfifo(tmp_path / "pipe")
    ends = (workers.run(None, os.open, str(tmp_path / "pipe"), end) for end in (os.O_RDONLY, os.O_WRONLY))
    async with asyncio.timeout(60):
        await asyncio.gather(*ends)
    assert os.getpid() not in workers.pids


@in_module_loop
async def test_task_over_its_deadline_is_killed(workers: WorkerPool) -> None:
    before = set(workers.pids)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await workers.run(time.monotonic() + 0.2, time.sleep, 600)
    assert time.monotonic() - began < 60
    assert await workers.run(None, operator.add, 1, 2) == 3
    (killed,) = before - set(workers.pids)
    assert await until_gone(killed)


@in_module_loop
async def test_task_limit_excludes_the_wait_in_the_queue(workers: WorkerPool) -> None:
    await until_full(workers)
    waits = [workers.run(None, time.sleep, 2.5, limit_s=7.0) for _ in range(5)]  # the last ends after 7.5 s
    assert await asyncio.gather(*waits) == [None] * 5
    with pytest.raises(DeadlineExceeded):
        await workers.run(None, time.sleep, 30, limit_s=0.1)


@in_module_loop
async def test_past_deadline_is_an_error(workers: WorkerPool) -> None:
    with pytest.raises(DeadlineExceeded):
        await workers.run(time.monotonic() - 1, time.sleep, 30)


@in_module_loop
async def test_cancellation_frees_the_worker(workers: WorkerPool) -> None:
    before = set(workers.pids)
    tasks_ = [asyncio.create_task(workers.run(None, time.sleep, 600)) for _ in range(2)]
    await asyncio.sleep(0.1)
    for task in tasks_:
        task.cancel()
    results = await asyncio.gather(*tasks_, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    began = time.monotonic()
    assert await workers.run(None, operator.add, 2, 2) == 4
    assert time.monotonic() - began < 60
    assert all([await until_gone(pid) for pid in before])


@in_module_loop
async def test_task_of_a_killed_worker_is_repeated(workers: WorkerPool, tmp_path: Path) -> None:
    await until_full(workers)  # a replacement of a worker killed before may still be starting, and would be used first
    last_used = await workers.run(None, os.getpid)
    os.mkfifo(tmp_path / "pipe")
    running = asyncio.create_task(workers.run(None, os.open, str(tmp_path / "pipe"), os.O_RDONLY))
    await asyncio.sleep(0.15)
    os.kill(last_used, signal.SIGKILL)
    assert await until_gone(last_used)
    async with asyncio.timeout(60):
        os.close(await asyncio.to_thread(os.open, tmp_path / "pipe", os.O_WRONLY))  # the other end is open by then
        assert await running > 0
    assert last_used not in workers.pids
    assert await workers.run(None, operator.add, 3, 4) == 7


@in_module_loop
async def test_task_that_kills_its_worker_twice_fails(workers: WorkerPool) -> None:
    with pytest.raises(TaskFault, match="twice"):
        await workers.run(None, os._exit, 3)
    assert await workers.run(None, operator.add, 3, 4) == 7


@in_module_loop
async def test_full_queue_refuses(workers: WorkerPool) -> None:
    await until_full(workers)
    running = [asyncio.create_task(workers.run(None, time.sleep, 30)) for _ in range(5)]  # 2 run, 3 wait
    await asyncio.sleep(0.1)
    with pytest.raises(Overloaded) as raised:
        await workers.run(None, operator.add, 1, 1)
    assert raised.value.retry_after_s
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await workers.run(None, operator.add, 1, 1) == 2


@in_module_loop
async def test_lost_fork_server_is_replaced(workers: WorkerPool) -> None:
    assert workers._fork_server is not None
    os.kill(workers._fork_server._process.pid, signal.SIGKILL)
    old = workers.pids
    assert all([await until_gone(pid) for pid in old])
    assert await workers.run(None, operator.add, 5, 5) == 10


@in_module_loop
async def test_large_messages(workers: WorkerPool) -> None:
    data = os.urandom(10 * 1024 * 1024)
    assert await workers.run(None, len, data) == len(data)
    assert await workers.run(None, operator.mul, b"\0", 5_000_000) == bytes(5_000_000)


@in_module_loop
async def test_closing_ends_all_processes() -> None:
    pool = WorkerPool(1)
    await pool.start()
    pids = pool.pids
    running = asyncio.create_task(pool.run(None, time.sleep, 30))
    await asyncio.sleep(0.05)
    await pool.close()
    with pytest.raises((TaskFault, EngineUnavailable)):
        await running
    assert all([await until_gone(pid) for pid in pids])
    with pytest.raises(EngineUnavailable):
        await pool.run(None, operator.add, 1, 1)


@in_module_loop
async def test_closing_fails_the_waiting_tasks() -> None:
    pool = WorkerPool(1)
    await pool.start()
    running = [asyncio.create_task(pool.run(None, time.sleep, 30)) for _ in range(4)]
    await asyncio.sleep(0.1)
    assert pool.alive
    await pool.close()
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineUnavailable] * 4
    assert not pool.alive


OWNER = """
import asyncio, os, time
from serve.ensembles.vectorizer.worker_pool import WorkerPool
async def main():
    pool = WorkerPool(1)
    await pool.start()
    print(pool.pids[0], flush=True)
    await pool.run(None, time.sleep, 600)
asyncio.run(main())
"""


def test_workers_end_with_their_killed_owner() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert asyncio.run(until_gone(pid))
