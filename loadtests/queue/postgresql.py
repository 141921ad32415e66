"""A PostgreSQL server of one's own, from Debian's package, for tests and measurements."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
MEMORY, DISK = Path("/dev/shm"), Path("/tmp")
LEAST_FREE_BYTES = 2 << 30
NAME = "atelier-postgresql-"
ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root."""


@dataclass(frozen=True)
class PostgreSQL:
    """Listens on a socket in ``folder`` alone."""

    folder: Path
    binaries: Path
    fsync: bool

    @classmethod
    @contextlib.contextmanager
    def started(cls, fsync: bool = False, in_memory: bool = False) -> Iterator[PostgreSQL]:
        """``fsync``: what is written survives the machine, and costs what it costs; tests kill processes alone.
        ``in_memory``: its files are, where there is room.

        Raises AssertionError that says what to install.
        """
        assert BINARIES, "run `make postgresql` first: it installs Debian's package"
        _remove_orphans()
        in_memory = in_memory and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= LEAST_FREE_BYTES
        # Its account must get through to it, and the path of a socket has to be short.
        home = (MEMORY if in_memory else DISK) / f"{NAME}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        home.mkdir(mode=0o755)
        server = cls(home, BINARIES[-1], fsync)
        try:
            if os.getuid() == 0:
                shutil.chown(home, ACCOUNT)
            server.run("initdb", "-D", f"{home}/data", "-A", "trust", "-U", ACCOUNT, "--no-sync", "-E", "UTF8")
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(home, ignore_errors=True)

    def start(self) -> None:
        own = f"-c fsync={'on' if self.fsync else 'off'} -c max_connections=200 -c max_wal_size=256MB"
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} {own}"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """At once: connections are cut, and what was under way is undone."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", "immediate", "stop")

    def freeze(self) -> None:
        """It is there, and does not answer; `thaw` ends that."""
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

    def _signal(self, number: int) -> None:
        main = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in (main, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _remove_orphans() -> None:
    """Servers whose owner was killed before it could stop them."""
    for home in (*MEMORY.glob(f"{NAME}*"), *DISK.glob(f"{NAME}*")):
        owner = home.name.removeprefix(NAME).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            PostgreSQL(home, BINARIES[-1], fsync=False).stop()
            shutil.rmtree(home, ignore_errors=True)
