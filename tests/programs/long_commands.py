"""Commands that start whole stacks. They are ended with SIGTERM: SIGKILL would leave the stacks behind."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

ENDING_S = 300.0
"""Time for an orderly shutdown of a stack."""


def done(command: Sequence[str], most_s: float) -> subprocess.CompletedProcess[str]:
    """Returns what `subprocess.run` does. SIGTERM ends a command that takes longer than ``most_s`` or whose test is
    interrupted. The calling test needs a timeout above ``most_s`` plus ``ENDING_S``. Raises TimeoutExpired with the
    output of the command."""
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
