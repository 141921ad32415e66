"""Ends a Python stub with the tritonserver that started it.

The stub's own watch on its parent can hang in a lock that the dead server held. A death signal from the kernel would
not do, as it follows the thread that forked, and Triton's loading threads end.
"""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_S = 1.0


def end_with_parent() -> None:
    """Watch the parent from a thread, and kill this process once it has another."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
