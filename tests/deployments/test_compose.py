"""`compose.yaml` (C-132): valid by the specification's own schema, and in accord with the stack and the images."""

from __future__ import annotations

import json
import os
import re
import subprocess
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from image_recipe import FOLDER, Recipe, ignored, rules

from serve.dashboards.boards import BOARDS
from serve.metrics.prometheus import ALERTMANAGERS, TARGETS
from serve.settings import HOME, Settings, leaves, load

SCHEMA = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
FILES = sorted(FOLDER.glob("compose*.yaml"))
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOORS = {"atelier", "grafana"}
TELLS = {"alertmanager"}
"""It calls out, to mail servers and webhooks."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_what_the_specification_takes(path: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_the_schema_would_find_something() -> None:
    wrong = {"services": {"a": {"image": "b:1", "restrat": "always"}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


def test_what_it_names_is_there() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"]), name
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (FOLDER / source).exists(), volume
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= used
    for path in FILES:
        for service in yaml.safe_load(path.read_text())["services"].values():
            if "build" in service:
                assert (FOLDER / service["build"]["context"]).resolve() == HOME
                assert (HOME / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_is_bounded_watched_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert "healthcheck" in service or Recipe(FOLDER / "cpu.Dockerfile").values("HEALTHCHECK")
    assert ("healthcheck" in service) != (name == "atelier")
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["logging"]["options"]["max-size"]
    assert re.search(r":v?\d+\.?\d*", service["image"]), "an image without a version"
    assert not service["image"].endswith(":latest")


def test_the_doors_are_public_and_nothing_else() -> None:
    settings = Settings.model_construct()
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == DOORS
    assert published["atelier"] == [f"{port}:{port}" for port in (settings.http.port, settings.grpc.port)]
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in set(SERVICES) - DOORS - TELLS - {"prometheus"}:
        assert SERVICES[name]["networks"] == ["inside"], name
    assert SERVICES["prometheus"]["network_mode"] == "service:atelier"


def test_the_image_has_the_version_of_the_project() -> None:
    version = Recipe(FOLDER / "cpu.Dockerfile").arguments()["VERSION"]
    for path in FILES:
        image = yaml.safe_load(path.read_text())["services"]["atelier"]["image"]
        assert image.partition(":")[2] == version


def test_its_variables_are_settings() -> None:
    known = {leaf.variable for leaf in leaves(Settings.model_construct())} | {"ATELIER_CONFIG"}
    for path in FILES:
        assert set(yaml.safe_load(path.read_text())["services"]["atelier"]["environment"]) <= known


def test_its_logs_are_what_docker_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["atelier"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATELIER_CONFIG", "")
    assert (load().logs.console, load().logs.format) == (True, "json")


def test_volumes_are_where_the_image_lets_it_write() -> None:
    prepared = next(
        value for value in Recipe(FOLDER / "cpu.Dockerfile").values("RUN") if "install --directory" in value
    )
    targets = [volume.split(":")[1] for volume in SERVICES["atelier"]["volumes"]]
    assert all(target in prepared for target in targets)
    assert SERVICES["atelier"]["read_only"] is True
    options = SERVICES["atelier"]["tmpfs"][0]
    assert options.startswith("/tmp:exec"), "Triton's Python stub is started from there"


def made(folder: Path) -> None:
    subprocess.run([FOLDER / "make-secrets", folder], check=True, timeout=60)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    made(tmp_path)
    return tmp_path / "secrets"


def test_secrets_are_made_once_and_are_the_ones_that_it_names(secrets: Path) -> None:
    assert {f"./secrets/{path.name}" for path in secrets.iterdir()} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert len(set(before.values())) == len(before)
    made(secrets.parent)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert json.loads(before["objects.json"])["identities"][0]["credentials"][0]["secretKey"]


def test_the_settings_that_are_made_are_valid(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ATELIER_")]:
        monkeypatch.delenv(name)
    for name, value in SERVICES["atelier"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATELIER_CONFIG", str(secrets / "atelier.yaml"))
    settings = load()
    assert settings.http.host == "0.0.0.0"
    assert settings.database.url is not None
    password = (secrets / "postgres_password").read_text()
    assert settings.database.url.get_secret_value() == f"postgresql://atelier:{password}@postgres/atelier"
    assert settings.rates.redis_url is not None
    assert (secrets / "redis_password").read_text() in settings.rates.redis_url.get_secret_value()
    assert settings.secrets.keys
    assert settings.webhooks.secret


def test_secrets_are_neither_in_git_nor_in_images() -> None:
    path = "deployments/docker/secrets/atelier.yaml"
    assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=HOME, timeout=30).returncode == 0
    assert ignored(path, rules())


def mounted(service: str) -> dict[str, str]:
    """By where they are in the container: files and folders beside compose.yaml."""
    found = {}
    for volume in SERVICES[service]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            assert (FOLDER / source).exists(), source
            found[target] = source
    return found


def test_prometheus_reads_the_ports_that_the_stack_has() -> None:
    targets = json.loads((FOLDER / mounted("prometheus")["/etc/prometheus/targets/metrics.json"]).read_text())
    ports = {one["labels"]["job"]: one["targets"] for one in targets}
    assert ports["ray"] == [f"127.0.0.1:{SERVICES['atelier']['environment']['ATELIER_RAY__METRICS_PORT']}"]
    assert ports["haproxy"] == [f"127.0.0.1:{Settings.model_construct().proxy.metrics_port}"]
    assert fnmatch("targets/metrics.json", TARGETS[0])
    assert "/etc/prometheus/rules.yml" in mounted("prometheus")


def test_plans_are_put_where_the_gpus_are_served_from() -> None:
    services = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())["services"]
    (written,), (read,) = services["plans"]["volumes"], services["atelier"]["volumes"]
    assert f"{written}:ro" == read
    assert services["plans"]["build"] == services["atelier"]["build"] | {"target": "plans"}
    assert services["plans"]["profiles"], "it is no part of the stack"
    guide = (FOLDER.parents[1] / "docs" / "DEPLOYMENT.md").read_text()
    assert f"--repository {read.split(':')[1]}\ndocker compose up" in guide


def test_prometheus_tells_alertmanager() -> None:
    """Which is on a network of the container whose own Prometheus shares."""
    path = "/etc/prometheus/targets/alertmanagers.json"
    ((target,),) = [one["targets"] for one in json.loads((FOLDER / mounted("prometheus")[path]).read_text())]
    host, port = target.split(":")
    assert set(SERVICES[host]["networks"]) & set(SERVICES["atelier"]["networks"]) == {"doors", "inside"}
    assert f":{port}/" in SERVICES[host]["healthcheck"]["test"][-1]
    assert fnmatch("targets/alertmanagers.json", ALERTMANAGERS[0])
    assert not fnmatch("targets/alertmanagers.json", TARGETS[0])
    written = yaml.safe_load((FOLDER / mounted("prometheus")["/etc/prometheus/prometheus.yml"]).read_text())
    assert written["alerting"]["alertmanagers"] == [{"file_sd_configs": [{"files": list(ALERTMANAGERS)}]}]


def test_grafana_has_the_dashboards() -> None:
    folder = mounted("grafana")["/var/lib/grafana/dashboards/atelier"]
    assert {path.stem for path in (FOLDER / folder).glob("*.json")} == {board.uid for board in BOARDS}
    provider = yaml.safe_load((FOLDER / "grafana-dashboards.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards/atelier"
