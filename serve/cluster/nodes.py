"""The machines of a stack: this machine's address, the state that all must share, the Prometheus targets of all
nodes."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from serve.cluster import stack
from serve.errors import InvalidRequest
from serve.observability.metrics.prometheus import write_targets
from serve.settings import Settings
from serve.settings.egress_policy import is_loopback

LOGGER = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 2.0
_JOIN_TIMEOUT_S = 5.0
NODE = "node"
"""Value of ``ray.host``: the address by which this machine reaches the others."""
OUTSIDE_ADDRESS = ("192.0.2.1", 9)
"""A documentation address (RFC 5737). Nothing is sent: connecting a UDP socket only selects the local address."""


def with_addresses(settings: Settings, towards: tuple[str, int] = OUTSIDE_ADDRESS) -> Settings:
    """Replace ``node`` by this machine's address on the route to ``towards`` (host, port).

    Raises InvalidRequest if there is none.
    """
    if settings.ray.host != NODE:
        return settings
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(towards)
        except OSError as error:
            message = f"this machine's address is not found ({error.strerror}): set ATELIER_RAY__HOST to it"
            raise InvalidRequest(message, "ray.host") from None
        host = probe.getsockname()[0]
    return settings.model_copy(update={"ray": settings.ray.model_copy(update={"host": host})})


def check_shared_state(settings: Settings) -> None:
    """Raises InvalidRequest for the first setting that does not work on several machines."""
    database = settings.database.url
    missing = {
        "ray.host": is_loopback(settings.ray.host) and "nobody elsewhere reaches loopback: set it to node",
        "database.url": (database is None or make_url(database.get_secret_value()).get_backend_name() == "sqlite")
        and "SQLite is one machine's: name a PostgreSQL server",
        "objects.url": settings.objects.url is None
        and "a folder in state_dir is one machine's: name a store (s3://...), or a folder that all machines share",
        "secrets.keys": not settings.secrets.keys and "one made in state_dir is one machine's: give all the same",
        "proxy.token": settings.proxy.token is None and "one made at start is one machine's: give all the same",
    }
    for field, reason in missing.items():
        if reason:
            raise InvalidRequest(reason, field)


@contextlib.contextmanager
def publish_targets(settings: Settings) -> Iterator[None]:
    """Keep the file up to date while the block runs, on a Ray node. Raises InvalidRequest if it cannot be written."""
    import ray  # after its environment is set

    path, done = stack.targets_file(settings), threading.Event()

    def write() -> None:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        if not done.is_set():
            write_targets(path, nodes, settings.proxy.metrics_port)

    def refresh() -> None:
        """Nodes join and leave. A full disk or a busy Ray head is retried."""
        while not done.wait(REFRESH_INTERVAL_S):
            try:
                write()
            except (OSError, ray.exceptions.RayError):
                continue
            except Exception:
                LOGGER.exception("the metrics file was not updated; it is tried again")

    try:
        write()
    except OSError as error:
        raise InvalidRequest(f"cannot be written ({error.strerror})", "metrics_file") from None
    # In a thread: while Ray's head hangs, a signal must still end the stack.
    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        _remove(path)  # before the join: the process may be killed while the head hangs
        thread.join(_JOIN_TIMEOUT_S)
        _remove(path)  # the thread may have written it once more


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
