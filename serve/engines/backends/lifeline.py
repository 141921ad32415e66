"""Ends a Python stub with the tritonserver that started it.

The stub's own watch on its parent can hang in a lock that the dead server held. A death signal from the kernel would
not do, as it follows the thread that forked, and Triton's loading threads end. And a thread of the stub that hangs with
the interpreter's lock stops ours too: then the kernel's alarm, which nobody puts off any more, ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_S = 1.0
ALARM_S = 600
"""Longer than the interpreter's lock is ever held, loading the largest engines included."""


def exit_with_parent() -> None:
    """Watch the parent from a thread, and kill this process once it has another."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            signal.alarm(ALARM_S)
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
