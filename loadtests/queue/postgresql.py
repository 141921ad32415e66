"""A PostgreSQL server of one's own, from Debian's package, for tests and measurements."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
MEMORY, DISK = Path("/dev/shm"), Path("/tmp")
LEAST_FREE_BYTES = 1 << 30
"""For one server: its log of changes grows to a quarter of that, and its tests keep little beside."""
NAME = "atelier-pg-"
ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root."""
STOP_S = 30.0


@dataclass(frozen=True)
class PostgreSQL:
    """Listens on a socket in ``folder`` alone."""

    folder: Path
    binaries: Path
    fsync: bool

    @classmethod
    @contextlib.contextmanager
    def started(cls, fsync: bool = False, in_memory: bool = False, servers: int = 1) -> Iterator[PostgreSQL]:
        """``fsync``: what is written survives the machine, and costs what it costs; tests kill processes alone.
        ``in_memory``: its files are, where there is room for as many ``servers``.

        Raises AssertionError that says what to install.
        """
        assert BINARIES, "run `make postgresql` first: it installs Debian's package"
        _remove_orphans()
        with _own_folder(MEMORY if in_memory and _has_room(servers) else DISK) as home:
            server = cls(home, BINARIES[-1], fsync)
            if os.getuid() == 0:
                shutil.chown(home, ACCOUNT)
            try:
                server.run("initdb", "-D", f"{home}/data", "-A", "trust", "-U", ACCOUNT, "--no-sync", "-E", "UTF8")
                server.start()
                yield server
            finally:
                server.stop()

    def start(self) -> None:
        own = f"-c fsync={'on' if self.fsync else 'off'} -c max_connections=200 -c max_wal_size=256MB"
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} {own}"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """At once: connections are cut, and what was under way is undone. Also of one that stands still."""
        self.thaw()
        for number in (signal.SIGQUIT, signal.SIGKILL):
            self._signal(number)
            deadline = time.monotonic() + STOP_S
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.05)

    def freeze(self) -> None:
        """It is there, and does not answer; `thaw` ends that."""
        assert self.pids(), "it does not run"
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def new_database(self, name: str | None = None, template: str = "template1") -> str:
        """The URL of a copy of ``template``, an empty one unless told otherwise, to which nobody may be connected."""
        name = name or f"test_{uuid.uuid4().hex}"
        self.run("createdb", "-h", str(self.folder), "-U", ACCOUNT, "-T", template, name)
        return self.url(name)

    def drop(self, url: str) -> None:
        """The database of ``url``, from under whoever is connected to it."""
        self.run("dropdb", "-h", str(self.folder), "-U", ACCOUNT, "--if-exists", "--force", str(make_url(url).database))

    def url(self, database: str) -> str:
        return f"postgresql://{ACCOUNT}@/{database}?host={self.folder}"

    def run(self, program: str, *arguments: str) -> str:
        command = [str(self.binaries / program), *arguments]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", *command]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/", timeout=60)
        return done.stdout

    def pids(self) -> list[int]:
        """Of its processes. By the command: the pid that it has written down may be another's by now."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/data".encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    children = (process / "task" / process.name / "children").read_text().split()
                    found += [int(pid) for pid in (process.name, *children)]
        return found

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _has_room(servers: int) -> bool:
    """Each that looks sees the same room, before any has taken of it."""
    return MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= servers * LEAST_FREE_BYTES


@contextlib.contextmanager
def _own_folder(place: Path) -> Iterator[Path]:
    """A new one in ``place``, gone after the block. It is locked: nobody takes it for an orphan's, whatever processes
    they can see."""
    # Until it is, it has a name that nobody looks for. The path of a socket has to be short.
    made = Path(tempfile.mkdtemp(prefix=f"new-{NAME}", dir=place))
    made.chmod(0o755)  # its account must get through to it
    with _locked(made):
        home = made.rename(place / made.name.removeprefix("new-"))
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Until the block ends, or this process. Raises BlockingIOError when another has locked it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_orphans() -> None:
    """Servers whose owner was killed before it could stop them."""
    for home in (*MEMORY.glob(f"{NAME}*"), *DISK.glob(f"{NAME}*")):
        with contextlib.suppress(OSError), _locked(home):  # it has an owner, or is gone meanwhile
            PostgreSQL(home, BINARIES[-1], fsync=False).stop()
            shutil.rmtree(home, ignore_errors=True)
