"""The process from which workers are forked. It has imported and warmed up everything: a fork takes about 20 ms.

Run as ``python -m serve.ensembles.vectorizer.fork_server CONTROL_FD MEMORY_BYTES``. Its control socket receives one
message per worker with a socket descriptor; it forks the worker onto that socket and returns the pid. It exits when the
control socket closes, however its owner ended; its workers are killed with it.

A worker reads a task (function and arguments), runs it, sends the result, and repeats until its socket closes. Messages
are length-prefixed; see `serve.ensembles.vectorizer.worker_protocol`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback
import warnings

from serve.ensembles.vectorizer.worker_protocol import function_by_name, pack, unpack
from serve.errors import AtelierError
from serve.observability.logs import formats

_MAX_TRACE_CHARACTERS = 20_000
"""Characters."""
LENGTH = struct.Struct("<Q")
READY = b"ready"
_PR_SET_PDEATHSIG = 1


def main(control_fd: int, memory_bytes: int) -> None:
    formats.install()
    control = socket.socket(fileno=control_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner handles Ctrl-C
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers leave no zombies
    warnings.simplefilter("ignore")  # Pillow's warnings about malicious files
    _warm()
    gc.collect()
    gc.freeze()  # keeps memory pages shared with the workers
    control.sendall(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            return
        worker = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            control.close()
            _work(worker, memory_bytes)
        worker.close()
        control.sendall(LENGTH.pack(pid))


def _warm() -> None:
    import cv2

    from serve.ensembles.vectorizer import tasks

    cv2.setNumThreads(1)  # parallelism is over workers, and OpenCV's threads do not survive a fork
    tasks.warm()


def _work(tasks: socket.socket, memory_bytes: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (message := receive(tasks)) is not None:
        answer = _run(message)
        tasks.sendall(LENGTH.pack(len(answer)) + answer)
    os._exit(0)


def _run(message: bytes) -> bytes:
    """("value", result), ("error", an error of `serve.errors`) or ("fault", traceback for the owner's log), and the CPU
    seconds used.

    Catches everything: native libraries may raise anything, such as a Rust panic, which is no `Exception`.
    """
    began = time.process_time()
    try:
        task, arguments = unpack(message)
        return pack(("value", function_by_name(task)(*arguments), time.process_time() - began))
    except BaseException as fault:
        if type(fault).__module__ == AtelierError.__module__:
            return pack(("error", fault, time.process_time() - began))
        trace = "".join(traceback.format_exception(fault))[-_MAX_TRACE_CHARACTERS:]
        return pack(("fault", trace, time.process_time() - began))


def receive(connection: socket.socket) -> bytes | None:
    """The next message, or None if the peer has closed the connection."""
    header = _read(connection, LENGTH.size)
    return None if header is None else _read(connection, LENGTH.unpack(header)[0])


def _read(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        received = connection.recv_into(view[got:])
        if received == 0:
            return None
        got += received
    return bytes(data)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
