"""The process that worker processes are forked from: it has imported and warmed everything, so a fork takes ~20 ms.

Run as ``python -m serve.ensembles.vectorizer.fork_server CONTROL_FD MEMORY_BYTES``. On its control socket it receives
one message with a socket's descriptor for each worker wanted, forks the worker onto that socket, and answers with the
worker's pid. It ends when the control socket closes, whichever way its owner ended, and its workers are killed with it.

A worker reads a task (a function and its arguments), runs it, answers, and reads the next, until its socket closes.
Messages have their length before them; what is in them is `serve.ensembles.vectorizer.worker_protocol`'s.
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

from serve.ensembles.vectorizer.worker_protocol import pack, to_function, unpack
from serve.errors import AtelierError
from serve.observability.logs import escaping

_LONGEST_TRACE = 20_000
"""Characters."""
LENGTH = struct.Struct("<Q")
READY = b"ready"
_PR_SET_PDEATHSIG = 1


def main(control_fd: int, memory_bytes: int) -> None:
    escaping.install()
    control = socket.socket(fileno=control_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers leave no zombies
    warnings.simplefilter("ignore")  # Pillow's remarks on hostile files
    _warm()
    gc.collect()
    gc.freeze()  # what is shared with the workers stays shared
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

    cv2.setNumThreads(1)  # the workers are the parallelism; and OpenCV's threads would not survive a fork
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
    """("value", result), ("error", one of `serve.errors`) or ("fault", its trace, which the owner writes down); last
    the processor seconds that it took.

    Anything at all may come out of a native library, a Rust panic among it, which is no `Exception`: the worker is the
    wall that stops it.
    """
    began = time.process_time()
    try:
        task, arguments = unpack(message)
        return pack(("value", to_function(task)(*arguments), time.process_time() - began))
    except BaseException as fault:
        if type(fault).__module__ == AtelierError.__module__:
            return pack(("error", fault, time.process_time() - began))
        trace = "".join(traceback.format_exception(fault))[-_LONGEST_TRACE:]
        return pack(("fault", trace, time.process_time() - began))


def receive(connection: socket.socket) -> bytes | None:
    """The next message, or None when the other end has closed."""
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
