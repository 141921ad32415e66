"""The structure of the packages: which room may import which, where Ray and torch may be; settings and their page."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from serve.errors import InvalidRequest
from serve.settings import Settings, leaves, load, to_markdown

HOME = Path(__file__).parents[1]
SERVE = sorted((HOME / "serve").rglob("*.py"))
PROGRAMS = sorted(
    path for name in ("serve", "build_engines", "loadtests", "deployments") for path in HOME.glob(f"{name}/**/*.py")
)
TRAINING = {"torch", "diffusers", "transformers", "tensorflow", "sklearn", "stable_baselines3", "build_engines"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Top-level packages that ``path`` imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return frozenset(names)


def violations(check: Callable[[Path], set[str]], paths: Iterable[Path]) -> dict[str, set[str]]:
    """By file, what ``check`` objects to; files without objection are left out."""
    return {str(path.relative_to(HOME)): objections for path in paths if (objections := check(path))}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in ``sys.modules`` after ``statement`` in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=HOME)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "settings": {"errors"},
    "observability": {"settings", "errors"},
    "diffusion": {"errors"},
    "vector": {"errors"},
    "engines": {"observability", "settings", "errors"},
    "ensembles": {"engines", "diffusion", "vector", "observability", "settings", "errors"},
    "state": {"observability", "settings", "errors"},
    "security": {"ensembles", "engines", "state", "diffusion", "observability", "settings", "errors"},
    "personalisation": {"ensembles", "state", "observability", "settings", "errors"},
    "releases": {
        "security",
        "ensembles",
        "engines",
        "state",
        "diffusion",
        "vector",
        "observability",
        "settings",
        "errors",
    },
    "jobs": {"releases", "security", "ensembles", "state", "observability", "settings", "errors"},
}
"""Each room of `serve`, from the lowest floor up, and the rooms that it may import."""
ROOMS["api"] = {"jobs", "personalisation", "engines", "diffusion", "vector", *ROOMS["jobs"]}
ROOMS["cluster"] = {"api", *ROOMS["api"]} - {"diffusion", "vector"}
ROOMS["app"] = {"cluster", "api", "security", "diffusion", "observability", "settings", "errors"}
ROOMS["cli"] = {"app", *ROOMS["cluster"], "cluster"}
LARGEST_FOLDER = 20


def modules_of(tree: ast.AST) -> set[str]:
    """Dotted names of modules of `serve` that ``tree`` imports, anywhere in it; a name in a module counts as it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("serve.")}


def test_the_root_of_serve_has_three_modules() -> None:
    assert {path.name for path in SERVE if path.parent == HOME / "serve"} == {"__init__.py", "app.py", "errors.py"}


def test_the_table_names_every_room_and_has_no_circle() -> None:
    there = {path.relative_to(HOME / "serve").with_suffix("").parts[0] for path in SERVE} - {"__init__"}
    assert there == ROOMS.keys()
    below: set[str] = set()
    for room, lower in ROOMS.items():
        assert lower <= below, room
        below.add(room)


def test_at_most_nine_floors_lie_between_the_application_and_the_errors() -> None:
    floors: dict[str, int] = {}
    for room, lower in ROOMS.items():
        floors[room] = 1 + max((floors[one] for one in lower), default=0)
    assert floors["app"] - floors["errors"] - 1 <= 9


def test_a_room_imports_only_what_lies_below_it() -> None:
    def not_below(path: Path) -> set[str]:
        room = path.relative_to(HOME / "serve").with_suffix("").parts[0]
        imported = {name.split(".")[1] for name in modules_of(parsed(path))}
        return imported - {room} - ROOMS.get(room, set())

    assert violations(not_below, SERVE) == {}


def test_no_folder_is_crowded_and_each_says_what_it_is() -> None:
    folders = {path.parent for path in SERVE} - {HOME / "serve"}
    for folder in folders:
        assert len(list(folder.glob("*.py"))) <= LARGEST_FOLDER, folder
        if "migrations" not in folder.parts and (folder / "__init__.py").exists():
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_helpers_of_tests_are_imported_from_where_they_lie() -> None:
    """A helper is found from the root, from `tests`, from the test's own folder, or from one above with a conftest.
    Files that add to ``sys.path`` are left out."""
    tests = HOME / "tests"

    def not_found(path: Path) -> set[str]:
        if "sys.path" in path.read_text():
            return set()
        above = [one for one in path.parents if one.is_relative_to(tests) and (one / "conftest.py").is_file()]
        places = [HOME, tests, path.parent, *above]
        names: set[str] = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
        own = {name for name in names if name.partition(".")[0] == "tests" or name.rpartition(".")[2] in helpers}
        files = {name: name.replace(".", "/") for name in own}
        return {
            name
            for name, file in files.items()
            if not any((place / f"{file}.py").is_file() or (place / file).is_dir() for place in places)
            and not (name.partition(".")[0] != "tests" and is_installed(name))
        }

    helpers = {path.stem for path in tests.rglob("*.py")}
    assert violations(not_found, sorted(tests.rglob("*.py"))) == {}


def is_installed(name: str) -> bool:
    """Whether the distribution's folder or module of ``name`` is in site-packages or in the standard library."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or any(
        (Path(place) / top).is_dir() or (Path(place) / f"{top}.py").is_file()
        for place in sys.path
        if "site-packages" in place
    )


def test_serving_never_imports_training() -> None:
    assert violations(lambda path: imports(path) & TRAINING, SERVE) == {}


@pytest.mark.ray
def test_the_application_loads_no_training_package() -> None:
    loaded = loaded_by("import serve.app")
    assert "ray" in loaded
    assert not loaded & TRAINING


def test_only_the_edge_imports_ray() -> None:
    users = {path.relative_to(HOME / "serve").parts[0] for path in SERVE if "ray" in imports(path)}
    assert users <= {"app.py", "cluster", "cli"}


def test_api_and_ensembles_run_without_ray() -> None:
    loaded = loaded_by("import serve.api.app, serve.api.inference.grpc, serve.ensembles.vectorizer.vectorizer")
    loaded |= loaded_by("import serve.ensembles.illustrator.illustrator, serve.cli.machine.foreground")
    loaded |= loaded_by("from serve.cli.main import LOADED_ON_USE, command_of; [*map(command_of, LOADED_ON_USE)]")
    assert "ray" not in loaded
    assert not loaded & TRAINING


def test_a_command_loads_only_what_it_uses() -> None:
    assert not loaded_by("import serve.cli.main") & {"sqlalchemy", "fastapi", "numpy", "tritonclient"}


def test_the_gateway_loads_no_tracer() -> None:
    """Its replicas only carry requests: what traces belongs to the Vectorizer's."""
    assert not loaded_by("import serve.api.app, serve.api.inference.grpc") & {"numba", "cv2", "vtracer", "scipy"}


def test_no_request_waits_for_a_thread_to_be_let_in() -> None:
    """FastAPI calls what is not async in one: a crossing for each dependency, on every request."""

    def in_threads(path: Path) -> set[str]:
        tree = parsed(path)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "Depends"}
        plain = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        routes = {node.name for node in plain if any("router." in ast.unparse(one) for one in node.decorator_list)}
        return routes | named & {node.name for node in plain}

    assert violations(in_threads, [path for path in SERVE if "api" in path.parts]) == {}


PICKLES = {"pickle", "_pickle", "cloudpickle", "shelve", "marshal", "dill", "joblib"}
SAFE = {"allow_pickle": False, "weights_only": True}
"""Of NumPy's and PyTorch's readers: what each option must be where it is given."""
SENDERS = {"Queue", "SimpleQueue", "JoinableQueue", "Pipe", "Connection", "Listener", "Client", "Manager"}
"""Of `multiprocessing`: they send pickles."""


def pickles(path: Path) -> set[str]:
    """What in ``path`` reads or writes pickles."""
    imported = imports(path)
    found = set(imported & PICKLES)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.keyword) and node.arg in SAFE:
            if not (isinstance(node.value, ast.Constant) and node.value.value is SAFE[node.arg]):
                found.add(node.arg)
        elif "multiprocessing" in imported and isinstance(node, ast.Attribute | ast.alias):
            name = node.attr if isinstance(node, ast.Attribute) else node.name
            found |= {name.rpartition(".")[2]} & SENDERS
    return found


def test_nothing_is_pickled() -> None:
    """Reading a pickle runs code. Ray pickles what crosses its hops; `worker_protocol` is our own way."""
    assert violations(pickles, PROGRAMS) == {}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import pickle", {"pickle"}),
        ("def f():\n    from cloudpickle import loads", {"cloudpickle"}),
        ("import shelve as s, joblib.memory", {"shelve", "joblib"}),
        ("numpy.load(file, allow_pickle=True)", {"allow_pickle"}),
        ("numpy.load(file, allow_pickle=trusted)", {"allow_pickle"}),
        ("torch.load(file, weights_only=False)", {"weights_only"}),
        ("import multiprocessing\nmultiprocessing.get_context('spawn').Queue()", {"Queue"}),
        ("from multiprocessing import Pipe", {"Pipe"}),
        ("from multiprocessing.connection import Connection", {"Connection"}),
        ("import asyncio\nasyncio.Queue()\nnumpy.load(f, allow_pickle=False)\ntorch.load(f, weights_only=True)", set()),
    ],
)
def test_pickling_would_be_found(tmp_path: Path, program: str, found: set[str]) -> None:
    path = tmp_path / "program.py"
    path.write_text(program)
    assert pickles(path) == found


def test_every_setting_has_a_default_and_a_help_text() -> None:
    settings = list(leaves(Settings.model_construct()))
    assert len(settings) > 30
    for setting in settings:
        assert setting.help.endswith("."), setting.name
        assert str(setting.default) != "PydanticUndefined", setting.name


def test_the_document_names_every_setting() -> None:
    """`make docs` writes it."""
    assert (HOME / "docs" / "SETTINGS.md").read_text() == to_markdown()


def test_settings_are_frozen() -> None:
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.state_dir = Path()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for setting in leaves(Settings.model_construct()):
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("ATELIER_CONFIG", "")
    return monkeypatch


def test_environment_wins_over_file_and_arguments_over_both(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("http: {host: 127.0.0.2, port: 1001}\ngrpc: {port: 1002}\nvectorizer: {workers: 3}\n")
    clean.setenv("ATELIER_HTTP__PORT", "2001")
    settings = load(site, vectorizer={"workers": 4})
    assert (settings.http.host, settings.http.port) == ("127.0.0.2", 2001)
    assert settings.grpc.port == 1002
    assert settings.vectorizer.workers == 4


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("ATELIER_HTTP__PROT", "8000", "http.prot"),
        ("ATELIER_HTPP__PORT", "8000", "ATELIER_HTPP__PORT"),
        ("ATELIER_HTTP__PORT", "99999", "http.port"),
        ("ATELIER_LIMITS__MAX_BODY_BYTES", "-1", "limits.max_body_bytes"),
        ("ATELIER_VECTORIZER__TIMEOUT_S", "soon", "vectorizer.timeout_s"),
    ],
)
def test_a_misspelt_or_wrong_setting_is_an_error(
    clean: pytest.MonkeyPatch, variable: str, value: str, field: str
) -> None:
    clean.setenv(variable, value)
    with pytest.raises(InvalidRequest) as caught:
        load()
    assert caught.value.field == field


def test_a_broken_file_is_an_error(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in ("http: [", "- 1", "htpp: {}", "http: {port: x}"):
        site = tmp_path / "site.yaml"
        site.write_text(text)
        with pytest.raises(InvalidRequest):
            load(site)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load(tmp_path / "missing.yaml")


def test_the_dependencies_of_serving_have_no_training_package() -> None:
    import tomllib

    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    names = {line.split("[")[0].split(">")[0].split("=")[0].strip() for line in project["dependencies"]}
    assert not names & {"torch", "diffusers", "transformers", "stable-baselines3", "scikit-learn"}


def test_constraints_hold_plain_versions() -> None:
    """No addresses, no paths, no local builds: they have to resolve on any machine."""
    for line in (HOME / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or (line.count("==") == 1 and not set(line) & set("@/+ ")), line
