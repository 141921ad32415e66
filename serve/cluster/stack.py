"""A stack on this machine as the command line sees it: its record, ports and process. No Ray."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from serve.cluster.http_client import StackClient
from serve.errors import EngineUnavailable
from serve.observability.logs import log_folder
from serve.settings import Settings, module_command


@dataclass(frozen=True)
class StackRecord:
    """Record of a stack that `atelier up` started and `atelier down` stops."""

    pid: int
    url: str
    grpc: str
    dashboard: str | None
    logs: str = ""
    metrics: str = ""
    traces: str | None = None
    fixed: str = ""
    """Digest of the settings that only a restart can change."""

    @classmethod
    def of(cls, settings: Settings) -> StackRecord:
        dashboard = settings.dashboard
        return cls(
            pid=os.getpid(),
            url=f"http://{url_host(settings.http.host)}:{settings.http.port}",
            grpc=f"{url_host(settings.http.host)}:{settings.grpc.port}",
            dashboard=f"http://{url_host(dashboard.host)}:{dashboard.port}" if dashboard.enabled else None,
            logs=str(log_folder(settings)),
            metrics=f"http://{url_host(settings.ray.host)}:{settings.proxy.metrics_port}/metrics",
            traces=settings.tracing.endpoint,
        )

    @property
    def endpoints(self) -> dict[str, str | None]:
        """Where the stack can be observed, by kind."""
        return {"dashboard": self.dashboard, "logs": self.logs, "metrics": self.metrics, "traces": self.traces}


def url_host(host: str) -> str:
    """The URL host by which this machine reaches a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def state_file(settings: Settings) -> Path:
    return settings.state_dir / f"stack-{settings.http.port}.json"


def log_file(settings: Settings) -> Path:
    return settings.state_dir / f"stack-{settings.http.port}.log"


def targets_file(settings: Settings) -> Path:
    """Prometheus service discovery file of this stack."""
    return settings.metrics_file or settings.state_dir / f"metrics-{settings.http.port}.json"


def running_stack(settings: Settings) -> StackRecord | None:
    """The recorded stack, if its process is alive."""
    try:
        record_stack = StackRecord(**json.loads(state_file(settings).read_text()))
        command = Path(f"/proc/{record_stack.pid}/cmdline").read_bytes()
    except (OSError, ValueError, TypeError):
        return None
    return record_stack if b"up" in command.split(b"\0") else None


@contextlib.contextmanager
def record_stack(settings: Settings, fixed: str = "") -> Iterator[StackRecord]:
    """Write the record of this process; remove it at the end of the block."""
    path, here = state_file(settings), replace(StackRecord.of(settings), fixed=fixed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(here)))
    try:
        yield here
    finally:
        path.unlink(missing_ok=True)


def check_ports(settings: Settings, timeout_s: float = 3.0) -> None:
    """Raises ``EngineUnavailable``, naming the setting, if a port stays in use for ``timeout_s``: a killed stack takes
    a moment to release its ports."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _check_ports(settings)
            return
        except EngineUnavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _check_ports(settings: Settings) -> None:
    for name, port, reason in taken_ports(settings):
        raise EngineUnavailable(f"port {port} is taken ({reason}); stop what uses it, or set {name} to another", name)


def ports(settings: Settings) -> dict[str, int]:
    """All that a stack listens on, by the name of the setting."""
    named = {"http.port": settings.http.port, "grpc.port": settings.grpc.port}
    named |= {f"proxy.{name}": port for name, port in settings.proxy.model_dump().items() if name.endswith("_port")}
    if settings.ray.metrics_port:
        named["ray.metrics_port"] = settings.ray.metrics_port
    if settings.dashboard.enabled:
        named["dashboard.port"] = settings.dashboard.port
    return named


def taken_ports(settings: Settings) -> list[tuple[str, int, str]]:
    """(setting, port, reason) of each that cannot be listened on now."""
    taken = []
    for name, port in ports(settings).items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.ray.host if name.startswith(("proxy.", "ray.")) else settings.http.host, port))
            except OSError as error:
                taken.append((name, port, str(error.strerror)))
    return taken


def wait_ready(settings: Settings) -> None:
    """Wait until every engine has answered a real inference."""
    client = StackClient(StackRecord.of(settings).url)
    deadline = time.monotonic() + settings.ray.start_timeout_s
    reasons = "nothing answered"
    while time.monotonic() < deadline:
        with contextlib.suppress(EngineUnavailable):
            ready, body = client.ready()
            if ready:
                return
            reasons = json.dumps(body)
        time.sleep(0.25)
    raise EngineUnavailable(f"the stack was not ready within {settings.ray.start_timeout_s:g} s: {reasons}")


def start_detached(settings: Settings, arguments: list[str], spare_s: float = 60.0) -> None:
    """Run `atelier up` in a new session with its output in the log file; return once it reports readiness.

    The limit is ``ray.start_timeout_s`` plus ``spare_s``; then it is ended and ``EngineUnavailable`` raised.
    """
    path = log_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        child = subprocess.Popen(
            [*module_command("serve.cli.main"), "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    client = StackClient(StackRecord.of(settings).url)
    deadline = time.monotonic() + settings.ray.start_timeout_s + spare_s
    while child.poll() is None and time.monotonic() < deadline:
        here = running_stack(settings)
        with contextlib.suppress(EngineUnavailable):
            if here is not None and here.pid == child.pid and client.ready()[0]:
                return
        time.sleep(0.25)
    end(child)
    lines = path.read_text(errors="replace").splitlines()[-20:]
    raise EngineUnavailable("the stack did not start. Its log ends:\n" + "\n".join(lines))


def end(child: subprocess.Popen[bytes], grace_s: float = 30.0) -> None:
    """Terminate ``child``; kill its process group if it does not exit within ``grace_s``."""
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _is_alive(pid: int) -> bool:
    """Zombies count as dead: they have a folder in /proc, but no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def stop(stack: StackRecord, timeout_s: float = 60.0) -> bool:
    """Terminate the process; whether it ended within ``timeout_s``."""
    try:
        os.kill(stack.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True  # already gone
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not _is_alive(stack.pid):
            return True
        time.sleep(0.2)
    return False
