"""Guard process of one tritonserver: starts it, ends it with its owner, and removes what it leaves behind.

Runs as a process of its own between the owner and Triton, with the standard library only::

    python -I -S process_guard.py OWNER_PID WORK_DIR SHM_PREFIX COMMAND [ARGUMENT ...]

The end of the owner is detected in any case: our standard input closes, or our parent changes. ``PR_SET_PDEATHSIG`` in
the owner is not enough: it follows the thread that forked, and executor threads end. When the owner ends, closes our
input, or Triton exits, all processes that Triton started are killed (the Python stubs become our children: we are
their subreaper), and ``WORK_DIR``, the shared memory under ``SHM_PREFIX`` and the empty folder that Triton's Python
backend creates in ``/tmp`` are removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHM = Path("/dev/shm")
START_WINDOW_S = 5.0
POLL_MS = 200


def main(owner_pid: int, work_dir: Path, shm_prefix: str, command: list[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    started_at = time.time()
    child = start(command, libc)
    try:
        wait(owner_pid, child)
    finally:
        end(child)
        remove_leftovers(work_dir, shm_prefix, started_at)
    return 0


def start(command: list[str], libc: ctypes.CDLL) -> int:
    """Start ``command`` in its own process group, killed if this process is; returns its pid."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        with contextlib.suppress(PermissionError):  # the child was faster and has already exec'ed
            os.setpgid(pid, pid)
        return pid
    for restored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(restored, signal.SIG_DFL)
    os.setpgid(0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if os.getppid() != guard:
        os._exit(1)
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def wait(owner_pid: int, child: int) -> None:
    """Block until the owner ends or closes our input, or the child ends."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    while os.getppid() == owner_pid and not poll.poll(POLL_MS):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


def end(child: int) -> None:
    """Kill the child and all its descendants, and reap them."""
    os.killpg(child, signal.SIGKILL)  # the group still exists: its leader has not been reaped
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def kill_orphans(shm_prefix: str) -> None:
    """Kill processes left by a guard that was killed itself: their command line contains its prefix."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and shm_prefix.encode() in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def remove_leftovers(work_dir: Path, shm_prefix: str, started_at: float) -> None:
    """Remove the files of a server that has ended. ``started_at`` is in seconds since the epoch.

    Triton's Python backend creates ``/tmp/python_env_*`` at start and removes it only on a clean exit. Its name is not
    known here, so the creation time identifies it. A folder in use is not empty and stays.
    """
    shutil.rmtree(work_dir, ignore_errors=True)
    for region in SHM.glob(shm_prefix + "*"):
        region.unlink(missing_ok=True)
    for folder in Path("/tmp").glob("python_env_*"):
        with contextlib.suppress(OSError):
            if started_at - 1 <= folder.stat().st_mtime <= started_at + START_WINDOW_S:
                folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
