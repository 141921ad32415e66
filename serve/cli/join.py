"""`atelier join HEAD:PORT`: adds this machine to a stack on another one, until a signal."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from serve.cli.database import ConfigOption, err, fail
from serve.cluster import ray_environment, stack
from serve.cluster.nodes import check_shared_state, with_addresses
from serve.cluster.ray_environment import temporary_folder
from serve.errors import AtelierError, EngineUnavailable, InvalidRequest
from serve.observability.metrics.processes import descendants
from serve.settings import Settings, load

RAY = (sys.executable, "-m", "ray.scripts.scripts")
JOINED = "Ray runtime started"
"""Ray's message once the node has joined."""
RAY_TIMEOUT_S = 30.0


def join(
    head: Annotated[str, typer.Argument(help="The first machine, and its `ray.port`, as HOST:PORT.")],
    config: ConfigOption = None,
) -> None:
    """Join the stack whose `atelier up` runs on the machine HEAD, with the same settings and the same Ray token.

    Runs until SIGTERM or Ctrl-C; then what works here goes on elsewhere before it ends.
    """
    try:
        settings = with_addresses(load(config), address_of(head))
        check_shared_state(settings)
        settings = ray_environment.apply(settings)
        with temporary_folder(), _node(head, settings) as node:
            _wait_joined(node, _log(settings), settings.ray.start_timeout_s)
            err.print(f"[green]joined[/] {escape(head)} as {settings.ray.host}. Leave with Ctrl-C or SIGTERM.")
            with contextlib.suppress(KeyboardInterrupt):
                node.wait()
                raise EngineUnavailable(f"Ray has ended; see {_log(settings)}")
            leave(head, node, settings.ray.leave_s)
    except AtelierError as error:
        fail(error, 2 if isinstance(error, InvalidRequest) else 3)


def address_of(head: str) -> tuple[str, int]:
    """Raises InvalidRequest."""
    host, _, port = head.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidRequest("must be HOST:PORT, such as 10.0.0.1:6379", "head")
    return host, int(port)


@contextlib.contextmanager
def _node(head: str, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Ray's processes on this machine while the block runs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, interrupt)
    command = [*RAY, "start", "--block", f"--address={head}", f"--node-ip-address={settings.ray.host}"]
    command += [f"--object-store-memory={settings.ray.object_store_memory_bytes}", "--disable-usage-stats"]
    if settings.ray.num_cpus:
        command.append(f"--num-cpus={settings.ray.num_cpus}")
    if settings.ray.metrics_port:
        command.append(f"--metrics-export-port={settings.ray.metrics_port}")
    if settings.ray.temp_dir:
        command.append(f"--temp-dir={settings.ray.temp_dir}")
    log = _log(settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # Own process group: Ctrl-C is handled here, since running work must move first.
        node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        yield node
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        stack.end(node, RAY_TIMEOUT_S)


def _log(settings: Settings) -> Path:
    return settings.state_dir / f"join-{settings.ray.host}.log"


def _wait_joined(node: subprocess.Popen[bytes], log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while node.poll() is None and time.monotonic() < deadline:
        if JOINED in log.read_text(errors="replace"):
            return
        time.sleep(0.1)
    last = log.read_text(errors="replace").splitlines()[-10:]
    raise EngineUnavailable("this machine did not join. Ray's log ends:\n" + "\n".join(last))


def leave(head: str, node: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Drain: Ray Serve starts replacements elsewhere, then stops the replicas here; at most ``timeout_s``."""
    node_id = next((found for pid in descendants(node.pid) if (found := _node_id(pid))), None)
    if node_id is None:
        return
    err.print(f"leaving: waiting up to {timeout_s:g} s until the work of this machine is elsewhere")
    drain = [*RAY, "drain-node", f"--address={head}", f"--node-id={node_id}"]
    drain += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=atelier leaves"]
    drain.append(f"--deadline-remaining-seconds={round(timeout_s)}")
    try:
        told = subprocess.run(drain, capture_output=True, text=True, timeout=RAY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        err.print(f"the others could not be told within {RAY_TIMEOUT_S:g} s")
        return
    if told.returncode != 0:
        err.print(f"the others could not be told: {escape(told.stderr.strip()[-300:])}")
        return
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(_command(p).startswith(b"ray::Serve") for p in descendants(node.pid)):
        time.sleep(0.2)


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _node_id(pid: int) -> str | None:
    """Ray's id of this machine, from the raylet's command line."""
    program, *options = _command(pid).decode(errors="replace").split("\0")
    if Path(program).name != "raylet":
        return None
    named = (option.partition("=") for option in options)
    return next((value for name, _, value in named if name.replace("_", "-") == "--node-id"), None)
