"""Locates tritonserver (wheel ``nvidia-pytriton`` or a separate installation) and builds its command."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import serve
from serve.engines.backends import ADAPTERS_VARIABLE, EMBEDDED, THREADS_VARIABLE
from serve.engines.triton_http import KEY_HEADER
from serve.errors import EngineUnavailable
from serve.settings import plain_environment

#: Modules that the backends import. A stub looks beside its ``model.py`` and ignores ``PYTHONPATH``.
STUB_MODULES = (
    "__init__.py",
    "engines/__init__.py",
    "engines/adapter_files.py",
    "engines/gguf_file.py",
    "engines/warmup_inputs.py",
    "engines/backends/__init__.py",
    "engines/backends/adapters.py",
    "engines/backends/batch.py",
    "engines/backends/contract.py",
    "engines/backends/free_memory.py",
    "engines/backends/parent_watch.py",
)


HTTP_APIS = (
    "health",
    "metadata",
    "inference",
    "shared-memory",
    "model-config",
    "model-repository",
    "statistics",
    "trace",
    "logging",
)
"""All that ``tritonserver --help`` names for ``--http-restricted-api``."""


class Ports(NamedTuple):
    """Of a tritonserver."""

    grpc: int
    metrics: int
    http: int


@dataclass(frozen=True)
class Wheel:
    """Parts of the wheel: its libraries, its Python backend and the stub for this interpreter."""

    libraries: Path
    python_backend: Path
    stub: Path


@dataclass(frozen=True)
class Installation:
    """The binary, with either its ``wheel`` or the ``backends`` folder of a separate installation."""

    binary: Path
    wheel: Wheel | None = None
    backends: Path | None = None


def find(root: Path | None = None) -> Installation:
    """The installation at ``root``, such as ``/opt/tritonserver`` in NVIDIA's container; without it the wheel.

    Raises EngineUnavailable if it is absent, incomplete, or has no stub for this interpreter.
    """
    if root is not None:
        return _external_installation(root)
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise EngineUnavailable("the tritonserver binary is missing: install the package nvidia-pytriton")
    package = Path(spec.origin).parent
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = package / "tritonserver"
    stub = folder / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise EngineUnavailable(f"nvidia-pytriton has no Python stub for Python {version}")
    wheel = Wheel(package.parent / "nvidia_pytriton.libs", folder / "backends" / "python", stub)
    return Installation(folder / "bin" / "tritonserver", wheel=wheel)


def _external_installation(root: Path) -> Installation:
    binary, backends = root / "bin" / "tritonserver", root / "backends"
    if not os.access(binary, os.X_OK):
        raise EngineUnavailable(f"no tritonserver can be run at {binary}", "tritonserver")
    if not backends.is_dir():
        raise EngineUnavailable(f"the tritonserver at {root} has no folder 'backends'", "tritonserver")
    return Installation(binary, backends=backends)


def backends_folder(installation: Installation, target: Path) -> Path:
    """The backends folder of a separate installation, or ``target`` filled with the embedded backends."""
    if installation.backends is not None:
        return installation.backends
    assert installation.wheel is not None
    _copy_backends(installation.wheel, target)
    return target


def _copy_backends(wheel: Wheel, target: Path) -> None:
    """Copy the backends ``python``, ``onnxruntime`` and ``openvino`` to ``target``."""
    python = target / "python"
    python.mkdir(parents=True)
    for source in (*wheel.python_backend.glob("*.*"), wheel.stub):
        shutil.copy(source, python)  # Triton rejects links that leave the folder
    package = Path(serve.__file__).parent
    for name in EMBEDDED:
        folder = target / name
        folder.mkdir()
        shutil.copy(package / "engines" / "backends" / name / "model.py", folder)
        for module in STUB_MODULES:
            copy = folder / "serve" / module
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / module, copy)


def environment(installation: Installation, threads: int, adapters: Path) -> dict[str, str]:
    """This process's environment plus what the binary and its stubs need, without the site's settings: they contain
    secrets, and engines may run third-party code.

    The stub embeds the interpreter: it loads ``libpython`` by name and finds this environment's packages through the
    first ``python3`` on ``PATH``. A separate installation finds its own libraries. ``adapters``: the folder of
    adapters' files.
    """
    values = plain_environment()
    values[ADAPTERS_VARIABLE] = str(adapters)
    values |= {THREADS_VARIABLE: str(threads), "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    if installation.wheel is None:
        return values
    libpython = (str(sysconfig.get_config_var("LIBDIR")), os.path.join(sys.base_prefix, "lib"))
    prepend = {
        "LD_LIBRARY_PATH": (str(installation.wheel.libraries), *libpython),
        "PATH": (str(Path(sys.executable).parent),),
    }
    for name, folders in prepend.items():
        values[name] = os.pathsep.join(dict.fromkeys([*folders, *filter(None, [values.get(name)])]))
    values.pop("PYTHONHOME", None)
    return values


def command(
    installation: Installation,
    *,
    repository: Path,
    engines: Sequence[str],
    backends: Path,
    shm_prefix: str,
    host: str,
    ports: Ports,
    http_key: str | None,
    load_threads: int,
    stub_timeout_s: float,
    traces_url: str | None = None,
) -> list[str]:
    """The command that serves only ``engines``: gRPC, HTTP and metrics on ``ports`` of ``host``.

    HTTP answers only requests with ``http_key`` in their header KEY_HEADER: a web page in a browser of this machine
    can send others, and could load a model of Python code. Other processes of this machine can read the key. None: no
    restriction.

    Requests that carry a trace context are reported to ``traces_url``; others are not traced.
    """
    has_gpu = Path("/dev/nvidiactl").exists()
    options = {
        "model-repository": repository,
        "model-control-mode": "explicit",
        "model-load-thread-count": load_threads,
        "backend-directory": backends,
        "strict-readiness": "true",
        "exit-on-error": "true",
        "grpc-address": host,
        "grpc-port": ports.grpc,
        "http-address": host,
        "http-port": ports.http,
        "metrics-address": host,
        "metrics-port": ports.metrics,
        "allow-gpu-metrics": str(has_gpu).lower(),
    }
    if http_key is not None:
        options["http-restricted-api"] = f"{','.join(HTTP_APIS)}:{KEY_HEADER}={http_key}"
    if not has_gpu:
        options["pinned-memory-pool-byte-size"] = 0
    settings = (f"shm-region-prefix-name={shm_prefix}", f"stub-timeout-seconds={max(1, round(stub_timeout_s))}")
    python_backends = ("python", *EMBEDDED) if installation.wheel else ("python",)
    return [
        str(installation.binary),
        # Auto-completion starts a second Python process per engine (2 s for five engines); our configs are complete.
        "--disable-auto-complete-config",
        *(f"--{name}={value}" for name, value in options.items()),
        *(f"--trace-config={value}" for value in _tracing(traces_url)),
        *(f"--load-model={engine}" for engine in engines),
        *(f"--backend-config={backend},{value}" for backend in python_backends for value in settings),
    ]


def _tracing(url: str | None) -> tuple[str, ...]:
    if url is None:
        return ()
    return (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={_UNTRACED_RATE}",
        f"opentelemetry,url={url}",
        _SERVICE_NAME,
    )


_UNTRACED_RATE = 2**31 - 1
"""Sampling rate for requests without a trace context; those with one are always traced."""
_SERVICE_NAME = "opentelemetry,resource=service.name=atelier-triton"
