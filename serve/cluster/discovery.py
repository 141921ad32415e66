"""Which machines a stack has now, told to Prometheus by the file that it reads."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from serve.cluster import stack
from serve.errors import InvalidRequest
from serve.observability.metrics.prometheus import write_targets
from serve.settings import Settings

LOGGER = logging.getLogger(__name__)

EVERY_S = 2.0
_END_S = 5.0


@contextlib.contextmanager
def publish_targets(settings: Settings) -> Iterator[None]:
    """For as long as the block runs, on a node of Ray's. Raises InvalidRequest where it cannot be written."""
    import ray  # after its environment is set

    path, done = stack.targets_file(settings), threading.Event()

    def tell() -> None:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        if not done.is_set():
            write_targets(path, nodes, settings.proxy.metrics_port)

    def go_on() -> None:
        """Others join and leave. A disk may be full, and Ray's head busy: they are asked again."""
        while not done.wait(EVERY_S):
            try:
                tell()
            except (OSError, ray.exceptions.RayError):
                continue
            except Exception:
                LOGGER.exception("Prometheus is not told of machines that join and leave; it is tried again")

    try:
        tell()
    except OSError as error:
        raise InvalidRequest(f"cannot be written ({error.strerror})", "metrics_file") from None
    # By the side: while Ray's head stands still, a signal must end the stack all the same.
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        _remove(path)  # at once: whoever ends this may not let it wait for the head
        thread.join(_END_S)
        _remove(path)  # it may have been about to write


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
