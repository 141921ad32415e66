"""Where tritonserver is, in the wheel ``nvidia-pytriton`` or in an installation of its own, and what it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import serve
from serve.engines.backends import EMBEDDED, THREADS_VARIABLE
from serve.errors import EngineUnavailable
from serve.settings import plain_environment

#: What the backends import of this package. A stub looks beside its ``model.py`` but ignores ``PYTHONPATH``.
STUB_MODULES = (
    "__init__.py",
    "engines/__init__.py",
    "engines/warmup_inputs.py",
    "engines/backends/__init__.py",
    "engines/backends/batch.py",
    "engines/backends/contract.py",
    "engines/backends/lifeline.py",
)


@dataclass(frozen=True)
class Wheel:
    """What the wheel's binary needs: its libraries, its Python backend and the stub for this interpreter."""

    libraries: Path
    python_backend: Path
    stub: Path


@dataclass(frozen=True)
class Installation:
    """The binary, and either the wheel that it is of or, of an installation of its own, the folder of its backends."""

    binary: Path
    wheel: Wheel | None = None
    backends: Path | None = None


def find(root: Path | None = None) -> Installation:
    """The installation at ``root``, such as ``/opt/tritonserver`` of NVIDIA's container, or without one the wheel.

    Raises EngineUnavailable when it is absent, lacks a part, or lacks this interpreter's stub.
    """
    if root is not None:
        return _at(root)
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


def _at(root: Path) -> Installation:
    binary, backends = root / "bin" / "tritonserver", root / "backends"
    if not os.access(binary, os.X_OK):
        raise EngineUnavailable(f"no tritonserver can be run at {binary}", "tritonserver")
    if not backends.is_dir():
        raise EngineUnavailable(f"the tritonserver at {root} has no folder 'backends'", "tritonserver")
    return Installation(binary, backends=backends)


def backends_of(installation: Installation, target: Path) -> Path:
    """The folder of the installation's own backends, or ``target`` filled with the embedded ones."""
    if installation.backends is not None:
        return installation.backends
    assert installation.wheel is not None
    _assemble(installation.wheel, target)
    return target


def _assemble(wheel: Wheel, target: Path) -> None:
    """Fill ``target`` with the backends ``python``, ``onnxruntime`` and ``openvino``."""
    python = target / "python"
    python.mkdir(parents=True)
    for source in (*wheel.python_backend.glob("*.*"), wheel.stub):
        shutil.copy(source, python)  # Triton refuses a link that leaves the folder
    package = Path(serve.__file__).parent
    for name in EMBEDDED:
        folder = target / name
        folder.mkdir()
        shutil.copy(package / "engines" / "backends" / name / "model.py", folder)
        for module in STUB_MODULES:
            copy = folder / "serve" / module
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / module, copy)


def environment(installation: Installation, threads: int) -> dict[str, str]:
    """This process's environment with what the binary and its stubs need, and without the site's settings: some are
    passwords, and engines run the code of whoever made them.

    The stub embeds the interpreter: it loads ``libpython`` by name, and finds this environment's packages through the
    first ``python3`` on ``PATH``. An installation of its own finds its libraries as it was installed to.
    """
    values = plain_environment()
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
    ports: tuple[int, int],
    load_threads: int,
    stub_timeout_s: float,
    traces_url: str | None = None,
) -> list[str]:
    """The command that serves ``engines`` alone: gRPC and metrics on ``ports`` of ``host``, no HTTP.

    Requests that say to which trace they belong are told of at ``traces_url``, and no others.
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
        "grpc-port": ports[0],
        "allow-http": "false",
        "metrics-address": host,
        "metrics-port": ports[1],
        "allow-gpu-metrics": str(has_gpu).lower(),
    }
    if not has_gpu:
        options["pinned-memory-pool-byte-size"] = 0
    settings = (f"shm-region-prefix-name={shm_prefix}", f"stub-timeout-seconds={max(1, round(stub_timeout_s))}")
    in_python = ("python", *EMBEDDED) if installation.wheel else ("python",)
    return [
        str(installation.binary),
        # Completing a config starts a second Python process per engine (2 s more for five engines); ours are complete.
        "--disable-auto-complete-config",
        *(f"--{name}={value}" for name, value in options.items()),
        *(f"--trace-config={value}" for value in _tracing(traces_url)),
        *(f"--load-model={engine}" for engine in engines),
        *(f"--backend-config={backend},{value}" for backend in in_python for value in settings),
    ]


def _tracing(url: str | None) -> tuple[str, ...]:
    if url is None:
        return ()
    return ("mode=opentelemetry", "level=TIMESTAMPS", f"rate={_NEVER}", f"opentelemetry,url={url}", _NAMED)


_NEVER = 2**31 - 1
"""One of so many requests that do not say to which trace they belong; the others are always told of."""
_NAMED = "opentelemetry,resource=service.name=atelier-triton"
