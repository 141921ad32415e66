"""Ends a Python stub when its tritonserver has ended.

The stub's own parent check can hang in a lock that the dead server held. ``PR_SET_PDEATHSIG`` does not work here: it
follows the thread that forked, and Triton's loading threads end. A stub thread that hangs while it holds the GIL stops
the watching thread too; then the kernel's alarm, which is no longer postponed, ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time

POLL_INTERVAL_S = 1.0
ALARM_S = 600
"""Longer than the GIL is ever held, loading the largest engines included."""


def exit_with_parent() -> None:
    """Start a thread that kills this process once its parent has changed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            signal.alarm(ALARM_S)
            time.sleep(POLL_INTERVAL_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent_watch", daemon=True).start()
