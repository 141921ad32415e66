"""Where the processes of a stack keep what is theirs alone, and forget when they are killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

_HAPROXY_FILES = {
    "CONFIG_FILE_LOC": "haproxy.cfg",
    "SOCKET_PATH": "admin.sock",
    "METRICS_SOCKET_PATH": "metrics.sock",
    "SERVER_STATE_BASE": "",
    "SERVER_STATE_FILE": "server-state",
}


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """A folder for the sockets and files of Ray and HAProxy, removed at the end. To be made before Ray is imported.

    It is in ``/tmp``, for the path of a socket has to be short. Ray's logs stay where they are.
    """
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="atelier-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = folder
        os.environ.update({f"RAY_SERVE_HAPROXY_{name}": f"{folder}/{file}" for name, file in _HAPROXY_FILES.items()})
        yield
