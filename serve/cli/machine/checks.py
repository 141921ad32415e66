"""What this machine has for a stack: the data folder, ports, disk, memory, a GPU, and the engines of the ensembles."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.cluster import stack
from serve.engines.triton import manifests
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD
from serve.ensembles.vectorizer.vectorization import ENGINES
from serve.errors import AtelierError, Conflict
from serve.settings import IS_INSTALLED, MEBIBYTE, IllustratorSettings, Settings, VectorizerSettings, project_path


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


def restore_command(name: str) -> str:
    """What brings back ``name``, a file or folder that comes with Atelier."""
    return "pip install --force-reinstall atelier" if IS_INSTALLED else f"git checkout -- {name}"


MIN_DISK_BYTES = 1024 * MEBIBYTE
MIN_MEMORY_BYTES = 3 * 1024 * MEBIBYTE
"""A stack at rest with one replica of each deployment holds about 2.5 GiB."""


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


def engines(settings: Settings, checksums: bool = False) -> Iterator[Check]:
    """Those that the ensembles run themselves. With ``checksums`` every file is read and compared with its manifest."""
    yield from vectorizer_engines(settings.vectorizer, checksums)
    yield from illustrator_engines(settings.illustrator, checksums)


def vectorizer_engines(settings: VectorizerSettings, checksums: bool = False) -> Iterator[Check]:
    if settings.engines_url is None:
        yield _engines("Vectorizer's engines", settings.model_repository, ENGINES, checksums)


def illustrator_engines(settings: IllustratorSettings, checksums: bool = False) -> Iterator[Check]:
    """Of each family. Without any, the stack starts and does not draw."""
    from serve.ensembles.illustrator.families import engines_by_family  # takes a while to load

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
    versions = manifests.version_numbers(engine)
    if not (engine / manifests.CONFIG).is_file() or not versions:
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
        return restore_command("model_repository")
    return f"atelier models add {shipped} --repository {repository}"
