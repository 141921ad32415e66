"""The images (A-112, C-132): linted, and their last stage laid out and started without a Docker engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image_recipe import FOLDER, Copy, Recipe, context, copies, ignored, rules, write_view
from numba.core.caching import UserProvidedCacheLocator
from standin import StandIn

from serve.api.app import create_app
from serve.settings import HOME, Settings

FILES = sorted(FOLDER.glob("*.Dockerfile"))
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
BIN = Path(sys.executable).parent


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return Recipe(request.param)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run(
        [BIN / "hadolint", "--config", HOME / ".hadolint.yaml", path], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_rejects_a_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\nCOPY a b c\n")
    done = subprocess.run([BIN / "hadolint", tmp_path / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert {"DL3006", "DL3003"} <= set(re.findall(r"DL\d+", done.stdout))


def test_copied_files_exist_and_are_in_the_context(recipe: Recipe) -> None:
    sent = context()
    for copy in copies(recipe.all):
        for source in copy.sources:
            assert (HOME / source).exists(), source
            assert any(path == source or path.startswith(source.rstrip("/") + "/") for path in sent), source


def test_unneeded_files_are_not_in_the_context() -> None:
    sent = context()
    assert {path.split("/")[0] for path in sent} == {
        "LICENSE", "NOTICE", "README.md", "build_engines", "constraints.txt", "deployments", "model_repository",
        "pyproject.toml", "serve", "setup.py", "studio",
    }  # fmt: skip
    for path in (
        ".git/config",
        ".venv/bin/python",
        "var/atelier.db",
        "tests/conftest.py",
        ".env",
        "serve/a.pyc",
        "studio/node_modules/a",
    ):
        assert ignored(path, rules()), path
    assert sum((HOME / path).stat().st_size for path in sent) < 100 * 2**20


def test_image_runs_as_a_named_unprivileged_user_with_labels(recipe: Recipe) -> None:
    assert recipe.values("USER") == ["10001:10001"]
    assert recipe.arguments()["VERSION"] == PROJECT["version"]
    labels = recipe.labels()
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert recipe.words("ENTRYPOINT")[-1] in PROJECT["scripts"]
    settings = Settings.model_construct()
    assert recipe.values("EXPOSE") == [f"{settings.http.port} {settings.grpc.port}"]


def test_base_images_are_pinned(recipe: Recipe) -> None:
    arguments = recipe.arguments()
    for base in recipe.bases:
        filled = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
        if filled not in ("build", "uv", "plans"):
            assert re.search(r":\d+\.\d+", filled), filled


def test_python_version_is_the_projects(recipe: Recipe) -> None:
    assert recipe.arguments()["PYTHON"].startswith("3.11")
    assert PROJECT["requires-python"].startswith(">=3.11,")


def test_packages_are_installed_with_constraints(recipe: Recipe) -> None:
    installs = [value for name, value in recipe.all if name == "RUN" and "pip install" in value]
    assert all("--constraint constraints.txt" in one or "--no-deps" in one for one in installs)
    assert len(installs) == 2 + len({"plans", "train"} & set(recipe.stages))


def test_plans_are_built_with_the_tensorrt_that_serves_them(tmp_path: Path) -> None:
    """The stage with build_engines starts from the serving image, and reads the version from its library."""
    recipe = Recipe(FOLDER / "gpu.Dockerfile")
    assert recipe.stages["plans"][0] == ("FROM", "build AS plans")
    assert recipe.stages["build"][0][1].split()[0] == recipe.last[0][1]
    (script,) = [value for name, value in recipe.stages["plans"] if name == "RUN"]
    (tmp_path / "libnvinfer.so.10.5.0").write_text("")
    (tmp_path / "libnvinfer.so.10").symlink_to("libnvinfer.so.10.5.0")
    (tmp_path / "uv").write_text('#!/bin/sh\nprintf "%s\\n" "$@"')
    (tmp_path / "uv").chmod(0o755)
    script = script.replace("/usr/lib/x86_64-linux-gnu", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-2:] == [".[build]", "tensorrt-cu12-bindings==10.5.0"]
    (tmp_path / "libnvinfer.so.10").unlink()
    assert subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, timeout=60).returncode != 0
    assert Copy(("build_engines/",), "build_engines/") in copies(recipe.stages["plans"])


def test_healthcheck_requests_an_existing_route(recipe: Recipe) -> None:
    script = (FOLDER / "healthcheck.py").read_text()
    path = re.search(r"\{PORT\}(/[\w/]+)", script)
    assert path is not None
    assert path[1] in create_app(StandIn(), Settings()).openapi()["paths"]
    assert "/opt/atelier/deployments/docker/healthcheck.py" in recipe.values("HEALTHCHECK")[0]


@pytest.mark.slow
def test_constraints_resolve(tmp_path: Path) -> None:
    """Like the first layer, with nothing of the package but its metadata."""
    extras = Recipe(FOLDER / "cpu.Dockerfile").arguments()["EXTRAS"]
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "NOTICE"):
        (tmp_path / name).write_bytes((HOME / name).read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--constraint", "constraints.txt", "--editable", f".[{extras}]"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Container:
    """The last stage of an image, laid out in ``root``, with the packages of this environment."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self.home = write_view(recipe, root)
        compiles = json.loads(next(value for value in recipe.values("RUN") if "compileall" in value))
        subprocess.run([sys.executable, *compiles[1:]], cwd=self.home, check=True, timeout=120)
        self.state = root / "var" / "lib" / "atelier"
        self.state.mkdir(parents=True)
        self.recipe = recipe
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.ports = one.getsockname()[1], other.getsockname()[1]

    def environment(self, **more: str) -> dict[str, str]:
        """The image's environment, with folders moved below ``root`` and free ports."""
        variables = {
            name: value.replace("/opt/atelier", str(self.home)).replace("/var/lib/atelier", str(self.state))
            for name, value in self.recipe.environment().items()
        }
        variables["PATH"] = f"{BIN}:{os.environ['PATH']}"
        # Instead of the image's editable install: the same modules by their path.
        return variables | {"PYTHONPATH": str(self.home), "RAY_USAGE_STATS_ENABLED": "0"} | more

    def run(self, *command: str, timeout_s: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *(("-m", "serve.cli.main", *command) if command[0] != "python" else command[1:])],
            env=self.environment(**more), cwd=self.home, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip


COMPILED_ANEW = "layers._areas-"
"""A function of the tracer that Python calls, small to compile."""


def copy_compiled(container: Container) -> Path:
    """Copies this checkout's compiled code of the tracer, except one function's, since compiling all of it takes a
    minute. Returns the container's cache folder of that function."""

    def folder(own: Path) -> Path:
        source = container.home / own.relative_to(HOME) / "any.py"
        return container.state / "numba" / UserProvidedCacheLocator.get_suitable_cache_subpath(str(source))

    for file in (HOME / "serve" / "vector").rglob("__pycache__/*.nb[ic]"):
        if not file.name.startswith(COMPILED_ANEW):
            kept = folder(file.parent.parent)
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, kept)
    return folder(HOME / "serve" / "vector" / "coverage")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Container]:
    """Each recipe once: to compile its files takes seconds."""
    found: dict[str, Container] = {}

    def container(recipe: Recipe) -> Container:
        if recipe.path.name not in found:
            found[recipe.path.name] = Container(recipe, tmp_path_factory.mktemp("container"))
        return found[recipe.path.name]

    return container


@pytest.fixture
def container(recipe: Recipe, laid_out: Callable[[Recipe], Container]) -> Container:
    return laid_out(recipe)


def test_files_suffice_for_the_command(container: Container) -> None:
    done = container.run("settings", "--json")
    assert done.returncode == 0, done.stderr
    assert str(container.home / "model_repository") in done.stdout
    assert str(HOME) not in done.stdout
    node = container.run("environment", ATELIER_PROXY__TOKEN="t")
    assert f"RAY_SERVE_HAPROXY_BINARY_PATH={container.home}/deployments/haproxy" in node.stdout
    assert os.access(container.home / "deployments" / "haproxy", os.X_OK)


def test_start_without_a_key_on_a_public_address_is_refused(container: Container) -> None:
    done = container.run("up")
    assert done.returncode != 0
    assert "atelier keys create --role admin" in done.stderr.replace("\n", " ")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder with a short path, for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("recipe", [FOLDER / "cpu.Dockerfile"], indirect=True, ids=["cpu"])
def test_container_starts_and_its_healthcheck_passes(container: Container, tmp_path: Path, ray_folder: Path) -> None:
    """Its command, files and environment, as its user: only the state folder is written to."""
    ports = {
        "ATELIER_HTTP__PORT": str(container.ports[0]),
        "ATELIER_GRPC__PORT": str(container.ports[1]),
        "ATELIER_HTTP__HOST": "127.0.0.1",
        "ATELIER_DASHBOARD__ENABLED": "false",
        "ATELIER_RAY__NUM_CPUS": "4",
        "ATELIER_RAY__TEMP_DIR": str(ray_folder),  # a container has its own /tmp
    } | _free("METRICS_PORT", "STATS_PORT", "FALLBACK_HTTP_PORT", "FALLBACK_GRPC_PORT")
    probe = container.recipe.values("HEALTHCHECK")[0].partition("CMD ")[2]
    program = str(container.home / "deployments" / "docker" / "healthcheck.py")
    assert program.removeprefix(str(container.home)) in probe
    assert container.run("python", program, **ports).returncode == 1, "before it runs"
    compiled = copy_compiled(container)
    stack = subprocess.Popen(
        [sys.executable, "-m", "serve.cli.main", *container.recipe.words("CMD")],
        env=container.environment(**ports), cwd=container.home,
        stdout=(tmp_path / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    before = set(container.home.rglob("*"))
    try:
        deadline = time.monotonic() + 400  # one function of its tracer is compiled first
        while container.run("python", program, **ports).returncode != 0:
            assert stack.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{container.ports[0]}/health/ready", timeout=60) as answer:
            assert b'"ready"' in answer.read()
        assert (container.state / "atelier.db").is_file()
        assert list(compiled.glob(f"{COMPILED_ANEW}*")), "it keeps what it compiles with its state"
    finally:
        stack.terminate()
        assert stack.wait(60) == 0
    assert set(container.home.rglob("*")) == before, "its own files are not written to"


def _free(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            found[f"ATELIER_PROXY__{name}"] = str(one.getsockname()[1])
    return found
