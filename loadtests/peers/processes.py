"""Peers as processes of their own, ended with the block; and Triton alone, with its own HTTP beside gRPC."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.load.stack import free_ports
from serve.engines.triton import installation
from serve.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class RawTriton:
    """``http`` and ``grpc``: host:port."""

    pid: int
    http: str
    grpc: str


@dataclass(frozen=True)
class Module:
    """``address``: host:port."""

    pid: int
    address: str


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[Module]:
    """``python -m loadtests.peers.NAME ... --port PORT``, once it answers anything."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", f"loadtests.peers.{name}", *arguments, "--port", str(port)]
    with _child(command, dict(os.environ)) as child:
        _wait(f"http://127.0.0.1:{port}", "/docs", child)
        yield Module(child.pid, f"127.0.0.1:{port}")


@contextlib.contextmanager
def raw_triton(repository: Path, engines: Sequence[str], threads: int) -> Iterator[RawTriton]:
    """The binary of the wheel with our embedded backends, as a replica runs it."""
    http, grpc, metrics = free_ports(3)
    found = installation.find()
    with tempfile.TemporaryDirectory(prefix="atelier-peer-") as folder:
        prefix = f"atelier_peer_{os.getpid()}_"
        backends = installation.backends_folder(found, Path(folder) / "backends")
        command = installation.command(
            found,
            repository=repository,
            engines=engines,
            backends=backends,
            shm_prefix=prefix,
            host="127.0.0.1",
            ports=installation.Ports(grpc, metrics, http),
            http_key=None,
            load_threads=2,
            stub_timeout_s=60,
        )
        with _child(command, installation.environment(found, threads, Path(folder))) as child:
            url = f"http://127.0.0.1:{http}"
            _wait(url, "/v2/health/ready", child)
            yield RawTriton(child.pid, f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        for left in Path("/dev/shm").glob(f"{prefix}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _child(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """In a session of its own, which is ended as a whole: peers have workers."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield child
        except EngineUnavailable as error:
            log.seek(0)
            raise EngineUnavailable(f"{error}; its log ends:\n{log.read()[-3000:].decode(errors='replace')}") from None
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_TIMEOUT_S)
    child.wait()


def _wait(url: str, path: str, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(url + path, timeout=5):
                return
        except OSError:  # an error of HTTP is one, too: it is there, and not ready
            time.sleep(0.1)
    raise EngineUnavailable("a peer did not start")
