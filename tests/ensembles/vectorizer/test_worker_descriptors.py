"""A process with many open descriptors: the worker's descriptor is above the limit of ``select.select``."""

from __future__ import annotations

import os
import resource
import socket
import subprocess

from serve.ensembles.vectorizer.processes import WorkerProcess

SELECT_LIMIT = 1024


async def test_worker_with_a_high_descriptor_is_watched() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 (a moment)
    parent_socket, child_socket = socket.socketpair()
    try:
        while opened[-1] < SELECT_LIMIT:
            opened.append(os.dup(opened[0]))
        worker = await WorkerProcess.connect(child.pid, parent_socket)
        assert worker.alive
        child.kill()
        child.wait()
        assert not worker.alive
        worker.kill()
    finally:
        child.kill()
        child.wait()
        child_socket.close()
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
