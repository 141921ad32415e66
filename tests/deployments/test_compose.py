"""`compose.yaml` (C-132): valid by the specification's own schema, and consistent with the stack and the images."""

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

from serve.observability.dashboards.boards import BOARDS
from serve.observability.metrics.prometheus import ALERTMANAGERS, TARGETS
from serve.settings import HOME, Settings, leaves, load

SCHEMA = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
FILES = sorted(FOLDER.glob("compose*.yaml"))
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOORS = {"atelier", "grafana"}
TELLS = {"alertmanager"}
"""It calls out, to mail servers and webhooks."""
ONCE = {"models"}
"""It ends when it has done what it is for."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_match_the_compose_schema(path: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_schema_rejects_an_unknown_field() -> None:
    wrong = {"services": {"a": {"image": "b:1", "restrat": "always"}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


def test_references_exist() -> None:
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
def test_each_service_is_limited_healthchecked_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert "healthcheck" in service or Recipe(FOLDER / "cpu.Dockerfile").values("HEALTHCHECK")
    assert ("healthcheck" in service) != (name in {"atelier", *ONCE})
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["logging"]["options"]["max-size"]
    assert re.search(r":v?\d+\.?\d*", service["image"]), "an image without a version"
    assert not service["image"].endswith(":latest")


def test_only_the_public_ports_are_published() -> None:
    settings = Settings.model_construct()
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == DOORS
    assert published["atelier"] == [f"{port}:{port}" for port in (settings.http.port, settings.grpc.port)]
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in set(SERVICES) - DOORS - TELLS - ONCE - {"prometheus"}:
        assert SERVICES[name]["networks"] == ["inside"], name
    assert SERVICES["prometheus"]["network_mode"] == "service:atelier"


def test_image_tags_equal_the_project_version() -> None:
    version = Recipe(FOLDER / "cpu.Dockerfile").arguments()["VERSION"]
    for path in FILES:
        services = yaml.safe_load(path.read_text())["services"]
        assert services["atelier"]["image"].partition(":")[2] == version
        assert services["models"]["image"] == services["atelier"]["image"]


def test_environment_variables_are_settings() -> None:
    known = {leaf.variable for leaf in leaves(Settings.model_construct())} | {"ATELIER_CONFIG"}
    for path in FILES:
        assert set(yaml.safe_load(path.read_text())["services"]["atelier"]["environment"]) <= known


def test_logs_go_to_the_console_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["atelier"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATELIER_CONFIG", "")
    assert (load().logs.console, load().logs.format) == (True, "json")


def test_volumes_are_writable_in_the_image() -> None:
    prepared = next(
        value for value in Recipe(FOLDER / "cpu.Dockerfile").values("RUN") if "install --directory" in value
    )
    targets = [volume.split(":")[1] for name in ("atelier", *ONCE) for volume in SERVICES[name]["volumes"]]
    assert all(target in prepared for target in targets)
    assert SERVICES["atelier"]["read_only"] is True
    options = SERVICES["atelier"]["tmpfs"][0]
    assert options.startswith("/tmp:exec"), "Triton's Python stub is started from there"


def make_secrets(folder: Path) -> None:
    subprocess.run([FOLDER / "make-secrets", folder], check=True, timeout=60)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    make_secrets(tmp_path)
    return tmp_path / "secrets"


def test_secrets_are_made_once_with_the_names_in_compose(secrets: Path) -> None:
    assert {f"./secrets/{path.name}" for path in secrets.iterdir()} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert len(set(before.values())) == len(before)
    make_secrets(secrets.parent)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert json.loads(before["objects.json"])["identities"][0]["credentials"][0]["secretKey"]


def test_generated_settings_are_valid(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=HOME, timeout=60).returncode == 0
    assert ignored(path, rules())


def mounted(service: str) -> dict[str, str]:
    """Files and folders beside compose.yaml, by their path in the container."""
    found = {}
    for volume in SERVICES[service]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            assert (FOLDER / source).exists(), source
            found[target] = source
    return found


def test_prometheus_reads_the_stacks_metrics_ports() -> None:
    targets = json.loads((FOLDER / mounted("prometheus")["/etc/prometheus/targets/metrics.json"]).read_text())
    ports = {one["labels"]["job"]: one["targets"] for one in targets}
    assert ports["ray"] == [f"127.0.0.1:{SERVICES['atelier']['environment']['ATELIER_RAY__METRICS_PORT']}"]
    assert ports["haproxy"] == [f"127.0.0.1:{Settings.model_construct().proxy.metrics_port}"]
    assert fnmatch("targets/metrics.json", TARGETS[0])
    assert "/etc/prometheus/rules.yml" in mounted("prometheus")


def test_prometheus_restarts_when_its_network_is_gone(tmp_path: Path) -> None:
    """Prometheus exits and is restarted in the new network; its own port would respond in the old one too."""
    prometheus = SERVICES["prometheus"]
    assert prometheus["depends_on"] == {"atelier": {"condition": "service_started", "restart": True}}
    kind, script = prometheus["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    (tmp_path / "wget").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "wget").chmod(0o755)
    (tmp_path / "net").write_text("    lo: 0 0\n")
    script = script.replace("/proc/net/dev", str(tmp_path / "net"))
    command = f"kill() {{ echo kill $1; }}; {script}"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for networks, expected in (("", "kill 1\n"), ("  eth0: 0 0\n", "")):
        with (tmp_path / "net").open("a") as file:
            file.write(networks)
        done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, expected)


def test_models_are_installed_before_the_stack_starts() -> None:
    """Into a volume, where versions lie side by side. The service that fills it runs at each start; the stack only
    reads."""
    service, stack = SERVICES["models"], SERVICES["atelier"]
    *_, command, source, option, target = service["command"]
    assert (command, option) == ("add", "--repository")
    assert (HOME / source.removeprefix("/opt/atelier/")).samefile(HOME / "model_repository")
    assert service["volumes"] == [f"models:{target}"]
    assert f"models:{target}:ro" in stack["volumes"]
    assert stack["depends_on"]["models"] == {"condition": "service_completed_successfully"}
    for ensemble in ("VECTORIZER", "ILLUSTRATOR"):
        assert stack["environment"][f"ATELIER_{ensemble}__MODEL_REPOSITORY"] == target


def test_gpu_override_equals_the_gpu_site(clean: pytest.MonkeyPatch) -> None:
    own = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())["services"]["atelier"]["environment"]
    site = {leaf.name: leaf.value for leaf in leaves(load(HOME / "deployments" / "gpu.yaml"))}
    for name, value in (SERVICES["atelier"]["environment"] | own).items():
        clean.setenv(name, value)
    clean.setenv("ATELIER_CONFIG", "")
    compose = {leaf.name: leaf.value for leaf in leaves(load())}
    sized = [
        name for name in compose if name.split(".")[0] in ("gateway", "proxy", "vectorizer", "illustrator", "jobs")
    ]
    different = {name for name in sized if compose[name] != site[name]}
    assert different == {"vectorizer.model_repository", "illustrator.model_repository", "illustrator.families"}


def test_plans_are_written_to_the_served_repository() -> None:
    services = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())["services"]
    (written,) = services["plans"]["volumes"]
    assert f"{written}:ro" in SERVICES["atelier"]["volumes"]
    assert services["plans"]["build"] == services["atelier"]["build"] | {"target": "plans"}
    assert services["plans"]["profiles"], "it is no part of the stack"
    guide = (FOLDER.parents[1] / "docs" / "DEPLOYMENT.md").read_text()
    assert f"--repository {written.split(':')[1]}\ndocker compose up" in guide
    families = json.loads(services["atelier"]["environment"]["ATELIER_ILLUSTRATOR__FAMILIES"])
    assert [f"--name {name}" in guide for name in families] == [True]


def test_prometheus_reaches_alertmanager() -> None:
    """Prometheus shares the network of the atelier container, and Alertmanager is in one of these networks."""
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
