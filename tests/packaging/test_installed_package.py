"""Wheel and source distribution: what is in them, and a stack that comes up from a wheel alone, in an empty folder.

The wheel is installed into an environment of its own that sees the packages of this one, so nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from numba.core.caching import UserProvidedCacheLocator
from PIL import Image

from serve.settings import HOME

pytestmark = pytest.mark.slow
PORTS = (
    "HTTP__PORT", "GRPC__PORT", "PROXY__METRICS_PORT", "PROXY__STATS_PORT", "PROXY__FALLBACK_HTTP_PORT",
    "PROXY__FALLBACK_GRPC_PORT",
)  # fmt: skip
MISLEADING = ("serve.py", "numpy.py", "secrets.py")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
"""As `pip` has them built, without its own start and its questions."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout's files: setuptools writes beside what it builds."""
    folder = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True, timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        if (HOME / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HOME / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


def wheel_of(source: Path, folder: Path) -> Path:
    return build("wheel", source, folder)


def build(kind: str, source: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    run(sys.executable, "-c", BUILD, kind, str(folder), cwd=source)
    (built,) = folder.iterdir()
    return built


def run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def record(wheel: Path) -> set[str]:
    """A line with the checksum of each file."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        return set(archive.read(name).decode().splitlines())


def test_wheel_holds_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {entry.filename: entry for entry in archive.infolist()}
    assert {name.split("/")[0] for name in files} == {"serve", "build_engines", "atelier-0.1.0.dist-info"}
    kinds = {Path(name).suffix for name in files if not name.startswith(("serve/data/", "atelier-"))}
    assert kinds == {".py"}
    modules = {name for name in files if name.endswith(".py")}
    assert modules == {str(path.relative_to(HOME)) for room in ("serve", "build_engines") for path in sources(room)}
    data = {name.removeprefix("serve/data/") for name in files if name.startswith("serve/data/")}
    assert {name.split("/")[0] for name in data} == {"model_repository", "deployments"}
    engines = {str(path.relative_to(HOME)) for path in (HOME / "model_repository").rglob("*") if path.is_file()}
    assert {name for name in data if name.startswith("model_repository/")} == engines
    for name in (
        "haproxy",
        "408.http",
        "503.http",
        "504.http",
        "grpc-14.http",
        "laptop.yaml",
        "gpu.yaml",
        "prometheus/rules.yml",
    ):
        assert f"deployments/{name}" in data
    assert {name for name in data if "grafana" in name} == {
        f"deployments/grafana/{path.name}" for path in (HOME / "deployments" / "grafana").iterdir()
    }
    assert files["serve/data/deployments/haproxy"].external_attr >> 16 & 0o111 == 0o111, "it is executable"
    assert wheel.stat().st_size < 80 * 2**20


def sources(room: str) -> Iterator[Path]:
    return (HOME / room).rglob("*.py")


def test_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert record(wheel) == record(wheel_of(unpacked, tmp_path / "wheel"))
    assert {"LICENSE", "NOTICE", "README.md", "constraints.txt", "pyproject.toml", "setup.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "loadtests/")) or "__pycache__" in name]


class Installation:
    """The wheel in an environment of its own, a home and an empty folder to work in."""

    def __init__(self, wheel: Path, root: Path) -> None:
        environment = root / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", str(environment))
        run(
            *PIP,
            "--python",
            str(environment / "bin" / "python"),
            "install",
            "--no-deps",
            "--ignore-installed",
            str(wheel),
        )
        self.bin = environment / "bin"
        self.packages = (
            environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        )
        (self.packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
        self.home, self.work = root / "home", root / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.data = self.home / ".local" / "share" / "atelier"
        self.variables: dict[str, str] = {}

    def atelier(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.home), "COLUMNS": "300"}
        return subprocess.run(
            [self.bin / "atelier", *arguments],
            cwd=self.work,
            env=variables | self.variables | more,
            capture_output=True,
            text=True,
            timeout=400,
        )

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file of the installed packages."""
        found = {path: path.stat() for path in self.packages.rglob("*") if path.is_file()}
        return {str(path): (one.st_size, one.st_mtime_ns) for path, one in found.items()}

    def reuse_compiled_tracer(self) -> None:
        """Machine code that the checkout has, as Numba would have kept it here; what does not fit is compiled."""
        for path in (HOME / "serve").rglob("__pycache__/*.nb?"):
            source = self.packages / path.parents[1].relative_to(HOME) / "module.py"
            folder = self.data / "numba" / UserProvidedCacheLocator.get_suitable_cache_subpath(str(source))
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    here = Installation(wheel, tmp_path_factory.mktemp("installed"))
    with contextlib.ExitStack() as held:
        for name in PORTS:
            one = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            here.variables[f"ATELIER_{name}"] = str(one.getsockname()[1])
    here.variables |= {"ATELIER_DASHBOARD__ENABLED": "false", "ATELIER_RAY__NUM_CPUS": "4"}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # sockets need short names
        here.variables["ATELIER_RAY__TEMP_DIR"] = folder
        yield here


def test_installed_package_finds_its_data_and_its_folders(installed: Installation) -> None:
    settings = json.loads(installed.atelier("settings", "--json").stdout)
    assert settings["state_dir"] == str(installed.data)
    data = installed.packages / "serve" / "data"
    assert settings["vectorizer"]["model_repository"] == str(data / "model_repository")
    gpu = json.loads(installed.atelier("settings", "--config", "gpu", "--json").stdout)
    assert gpu["illustrator"]["num_gpus"] == 0.5
    exported = installed.atelier("environment", ATELIER_PROXY__TOKEN="t").stdout
    assert f"RAY_SERVE_HAPROXY_BINARY_PATH={data}/deployments/haproxy" in exported
    assert f"NUMBA_CACHE_DIR={installed.data}/numba" in exported
    done = installed.atelier("models", "add", str(HOME / "model_repository"))
    assert done.returncode == 2
    assert "--repository" in done.stderr


@pytest.mark.cluster
def test_stack_of_an_installed_package_draws_and_converts(installed: Installation) -> None:
    """Also where files of the folder have the names of modules: nothing is imported from there."""
    installed.reuse_compiled_tracer()
    for name in MISLEADING:
        (installed.work / name).write_text("raise ImportError('of the folder in which the command runs')")
    before = installed.files()
    done = installed.atelier("doctor", "--json")
    assert done.returncode == 0, done.stdout
    done = installed.atelier("up", "--detach")
    try:
        assert done.returncode == 0, done.stderr
        done = installed.atelier("illustrate", "red apple, flat", "--seed", "7", "--steps", "4", "-o", "apple.png")
        assert done.returncode == 0, done.stderr
        with Image.open(installed.work / "apple.png") as picture:
            assert picture.format == "PNG"
        done = installed.atelier("vectorize", "apple.png", "-o", "apple.svg", "--validate", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["ai_metadata"]["degraded"] == []
        assert (installed.work / "apple.svg").read_text().startswith("<svg")
        done = installed.atelier("status", "--json")
        assert json.loads(done.stdout)["status"] == "healthy"
        assert "used by the stack that runs" in installed.atelier("doctor").stdout
    finally:
        log = "\n".join(path.read_text(errors="replace") for path in installed.data.glob("stack-*.log"))
        stopped = installed.atelier("down")
    assert stopped.returncode == 0, stopped.stderr + log
    assert (installed.data / "atelier.db").is_file()
    assert list((installed.data / "logs").iterdir())
    assert {path.name for path in installed.work.iterdir()} == {"apple.png", "apple.svg", *MISLEADING}
    assert installed.files() == before, "nothing is written beside the installed package"
