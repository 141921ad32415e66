"""Commands that start whole stacks, and end them when they are asked to: with SIGKILL these would be left behind."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

ENDING_S = 300.0
"""For that: what it waits for comes first, and a stack ends in order."""


def done(command: Sequence[str], most_s: float) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives. SIGTERM ends a command that takes longer than ``most_s``, or whose test is ended.

    A test that calls it needs a limit of its own above ``most_s`` and ``ENDING_S``. Raises TimeoutExpired, with what
    the command had said.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.communicate(timeout=most_s)
        except BaseException as error:
            process.terminate()
            try:
                said = process.communicate(timeout=ENDING_S)
            finally:
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                error.add_note("\n".join(text[-6000:] for text in said))
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, *said)
