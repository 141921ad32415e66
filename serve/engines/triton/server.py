"""``TritonServer``: a tritonserver as a child process that ends when this process does."""

from __future__ import annotations

import contextlib
import http.client
import logging
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from serve.engines.triton import adapters_folder, installation, manifests, process_guard, server_log
from serve.errors import EngineUnavailable
from serve.observability.metrics import catalogue

LOGGER = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
SERVING = "serving"
"""A file of a running Triton's folder, see `TritonServer.serving_mark`."""
VIEW = "repository"
LOG_LINES = 400
LOG_LINE_BYTES = 4096
START_ATTEMPTS = 3
START_TIMEOUT_S = 120.0
"""Two runtimes load in 2 s on two idle cores, and in 50 s where busier processes have both."""
STOP_TIMEOUT_S = 10.0
CONFIRM_TIMEOUT_S = 30.0
CONFIRM_ATTEMPT_S = 1.0
"""Another process that has the port may accept connections and never answer."""


class TritonServer:
    """Serves ``engines`` of ``repository`` (one folder per engine) on free loopback ports.

    ``versions`` selects versions by engine (default: the lowest); `set_view` and `set_versions` change that while
    running. ``threads``: CPU threads of an engine whose config names none (default: all cores). ``start_timeout_s``
    limits the load of all engines. ``start`` and ``stop`` block: call them in a thread from async code. A stopped
    server can be started again and keeps its ports if they are still free. ``tritonserver``: folder of a separate
    installation with its own backends; None: the wheel with the embedded backends.
    """

    def __init__(
        self,
        repository: Path,
        engines: Sequence[str],
        *,
        versions: Mapping[str, Sequence[str]] | None = None,
        threads: int | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
        load_threads: int = 4,
        tritonserver: Path | None = None,
        traces_url: str | None = None,
    ) -> None:
        self._repository = repository.resolve()
        self._engines = tuple(dict.fromkeys(engines))
        self._versions = {engine: tuple((versions or {}).get(engine, ())) for engine in self._engines}
        self._threads = threads or len(os.sched_getaffinity(0))
        self._start_timeout_s = start_timeout_s
        self._load_threads = load_threads
        self._installation = installation.find(tritonserver)
        self._traces_url = traces_url
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._leftovers: tuple[Path, str, float] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._ready = threading.Event()
        self._ended_or_ready = threading.Event()
        self._ports: installation.Ports | None = None
        self.http_key = secrets.token_hex(16)
        """Without it in the header KEY_HEADER the HTTP endpoint refuses every request."""
        self._adapters: tempfile.TemporaryDirectory[str] | None = None
        self.restarts = 0
        self.versions_changed_at = -math.inf
        """When the set of versions last changed, by ``time.monotonic``."""

    @property
    def engines(self) -> tuple[str, ...]:
        return self._engines

    @property
    def versions(self) -> Mapping[str, Sequence[str]]:
        """Confirmed versions by engine."""
        return self._versions

    def set_view(self, engine: str, versions: Sequence[str]) -> None:
        """Show ``versions`` of ``engine`` to the running Triton at its next load; a restart uses the versions of
        `set_versions`."""
        with self._lock:
            if self._leftovers is not None and self.running:
                manifests.write_view(self._repository / engine, versions, self._leftovers[0] / VIEW / engine)

    def set_versions(self, engine: str, versions: Sequence[str]) -> None:
        """Record that ``engine`` has ``versions``, also after a restart. Does not block."""
        self._versions = {**self._versions, engine: tuple(versions)}
        self.versions_changed_at = time.monotonic()

    @property
    def url(self) -> str:
        """``host:port`` of the gRPC endpoint."""
        return f"{LOOPBACK}:{self._running_ports().grpc}"

    @property
    def http_address(self) -> str:
        """``host:port`` of the HTTP endpoint."""
        return f"{LOOPBACK}:{self._running_ports().http}"

    @property
    def serving_mark(self) -> Path | None:
        """A file that exists while answers of this Triton may be used, for callers in other processes."""
        return None if self._leftovers is None else self._leftovers[0] / SERVING

    def refuse(self) -> None:
        """Tell callers in other processes that answers may belong to other requests from now on."""
        if (mark := self.serving_mark) is not None:
            mark.unlink(missing_ok=True)

    @property
    def adapters(self) -> Path:
        """The folder of adapters' files that the engines read. It outlives restarts, and ends with this process."""
        if self._adapters is None:
            adapters_folder.remove_abandoned()
            self._adapters, lock = adapters_folder.locked_folder()
            weakref.finalize(self, os.close, lock)
        return Path(self._adapters.name)

    @property
    def metrics_url(self) -> str:
        """Endpoint of Triton's own Prometheus metrics."""
        return f"http://{LOOPBACK}:{self._running_ports().metrics}/metrics"

    @property
    def running(self) -> bool:
        """Whether the process exists; only an inference shows whether it works."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Pid of the guard process, the parent of tritonserver."""
        if self._process is None:
            raise EngineUnavailable("tritonserver is not started")
        return self._process.pid

    def log(self) -> list[str]:
        """Triton's last log lines: for operators, never for clients."""
        return list(self._log)

    def start(self) -> None:
        """Start, and return once every engine is loaded.

        Raises EngineUnavailable with Triton's reason if an engine cannot be loaded, or not in time.
        """
        with self._lock:
            if self.running:
                return
            self._check_repository()
            for _ in range(START_ATTEMPTS):
                self._ports = self._ports or _free_ports()
                started = self._launch(self._ports)
                if started:
                    return
                self._ports = None  # in use by another process, or by a crashed server
            lines = self.log()
            taken = server_log.is_port_taken(lines)
            raise EngineUnavailable("tritonserver found no free port" if taken else server_log.failure(lines))

    def stop(self) -> None:
        """Kill the server and its stubs at once (engines hold no state) and remove their files."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            if process.stdin is not None:
                process.stdin.close()  # makes the guard end everything
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # A guard that was killed itself has not cleaned up.
            left = self._leftovers if process.returncode != 0 else None
            if left is not None:
                process_guard.kill_orphans(left[1])  # they would also hold the log pipe open
            if self._reader is not None:
                self._reader.join(STOP_TIMEOUT_S)
            if left is not None:
                process_guard.remove_leftovers(*left)

    def restart(self) -> None:
        with self._lock:
            self.stop()
            self.restarts += 1
            self.start()

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running_ports(self) -> installation.Ports:
        if self._ports is None:
            raise EngineUnavailable("tritonserver is not started")
        return self._ports

    def _check_repository(self) -> None:
        for engine in self._engines:
            if not (self._repository / engine / "config.pbtxt").is_file():
                raise EngineUnavailable(f"engine '{engine}' is not in the model repository")
            if not self._versions[engine]:
                self._versions[engine] = tuple(manifests.version_numbers(self._repository / engine)[:1])

    def _launch(self, ports: installation.Ports) -> bool:
        """True if the engines are loaded; False if a retry may succeed (port in use, transient crash).

        Raises EngineUnavailable otherwise.
        """
        started_at = time.monotonic()
        self._log.clear()
        self._ready.clear()
        self._ended_or_ready.clear()
        try:
            self._process = self._spawn(ports)
        except OSError:
            if self._leftovers is not None:
                process_guard.remove_leftovers(*self._leftovers)  # there is no guard to do it
            raise
        self._reader = threading.Thread(target=self._read_log, args=(self._process,), name="triton-log", daemon=True)
        self._reader.start()
        loaded_in_time = self._ended_or_ready.wait(self._start_timeout_s)
        if loaded_in_time and self._ready.is_set() and self._serves_metrics(ports.metrics):
            catalogue.TRITON_STARTS.add(1)
            catalogue.TRITON_START_SECONDS.observe(time.monotonic() - started_at)
            LOGGER.info("%d engines loaded in %.1f s", len(self._engines), time.monotonic() - started_at)
            return True
        self.stop()
        lines = self.log()
        if server_log.is_port_taken(lines) or server_log.is_transient(lines):
            return False
        LOGGER.error("tritonserver did not start:\n%s", "\n".join(lines[-40:]))
        limit = f"the engines did not load within {self._start_timeout_s:g} s"
        raise EngineUnavailable(server_log.failure(lines) if loaded_in_time else limit)

    def _spawn(self, ports: installation.Ports) -> subprocess.Popen[bytes]:
        work_dir = Path(tempfile.mkdtemp(prefix="atelier-triton-"))
        shm_prefix = f"atelier_{os.getpid()}_{secrets.token_hex(4)}_"
        self._leftovers = (work_dir, shm_prefix, time.time())
        (work_dir / SERVING).touch()
        for engine, versions in self._versions.items():
            manifests.write_view(self._repository / engine, versions, work_dir / VIEW / engine)
        command = installation.command(
            self._installation,
            repository=work_dir / VIEW,
            engines=self._engines,
            backends=installation.backends_folder(self._installation, work_dir / "backends"),
            shm_prefix=shm_prefix,
            host=LOOPBACK,
            ports=ports,
            http_key=self.http_key,
            load_threads=self._load_threads,
            stub_timeout_s=self._start_timeout_s,
            traces_url=self._traces_url,
        )
        interpreter = [sys.executable, "-I", "-S", str(Path(process_guard.__file__))]
        return subprocess.Popen(
            [*interpreter, str(os.getpid()), str(work_dir), shm_prefix, *command],
            env=installation.environment(self._installation, self._threads, self.adapters),
            cwd=work_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Own process group: not reached by the terminal's Ctrl-C. Not an own session: with Linux autogroup
            # scheduling, stubs of one session were late for their server on busy cores.
            process_group=0,
        )

    def _serves_metrics(self, port: int) -> bool:
        """Whether the metrics service runs: Triton logs its start before binding the port, and exits if that is in
        use."""
        deadline = time.monotonic() + CONFIRM_TIMEOUT_S
        while self.running and time.monotonic() < deadline:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=CONFIRM_ATTEMPT_S)
            try:
                connection.request("GET", "/metrics")
                if connection.getresponse().read(3) == b"# H":
                    return True
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
            finally:
                connection.close()
        return False

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            while raw := pipe.readline(LOG_LINE_BYTES):
                line = raw.decode(errors="replace").rstrip()
                self._log.append(line)
                LOGGER.log(server_log.level(line), "%s", line)
                if server_log.is_ready(line):
                    self._ready.set()
                if self._ready.is_set() or server_log.is_given_up(line) or server_log.is_port_taken([line]):
                    self._ended_or_ready.set()
        self._ended_or_ready.set()


def _free_ports() -> installation.Ports:
    """Free loopback ports, bound at the same time so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in installation.Ports._fields]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return installation.Ports(*(int(one.getsockname()[1]) for one in sockets))
