"""`deployments/*.yaml` (A-113, B-054): each is a Ray Serve config, and the application built from it agrees with it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from build_engines.illustrate.contracts import LARGEST_UNET_BATCH
from serve.settings import HOME, leaves, load

SITES = sorted(path for path in (HOME / "deployments").glob("*.yaml") if "applications" in path.read_text())
ONE_HOST = [path for path in SITES if path.stem != "cluster"]


def test_there_is_one_file_for_each_size() -> None:
    assert {path.stem for path in SITES} >= {"laptop", "gpu", "cluster"}


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.name)
def test_addresses_agree_between_ray_serve_and_settings(path: Path) -> None:
    document, settings = yaml.safe_load(path.read_text()), load(path)
    assert document["http_options"]["port"] == settings.http.port
    assert document["grpc_options"]["port"] == settings.grpc.port
    assert len(document["applications"]) == 1, "with more than one, gRPC clients would have to name theirs"


@pytest.mark.parametrize("path", ONE_HOST, ids=lambda path: path.name)
def test_single_host_listens_on_loopback(path: Path) -> None:
    settings = load(path)
    assert yaml.safe_load(path.read_text())["http_options"]["host"] == settings.ray.host == "127.0.0.1"
    assert settings.http.host == "127.0.0.1"
    assert yaml.safe_load(path.read_text())["proxy_location"] == "HeadOnly"


def test_cluster_has_proxies_on_every_node_with_its_own_address(clean: pytest.MonkeyPatch) -> None:
    document = yaml.safe_load((HOME / "deployments" / "cluster.yaml").read_text())
    assert document["proxy_location"] == "EveryNode"
    assert document["http_options"]["host"] == "0.0.0.0"
    assert "ray" not in document["applications"][0]["args"], "arguments would win over what each node says"
    clean.setenv("ATELIER_RAY__HOST", "10.1.2.3")
    settings = load(**document["applications"][0]["args"])
    assert (settings.http.host, settings.ray.host) == ("0.0.0.0", "10.1.2.3")


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.name)
def test_no_secret_is_committed(path: Path) -> None:
    text = path.read_text()
    for leaf in leaves(load(path)):
        if "Secret" in type(leaf.value).__name__ or leaf.name.endswith(("secret", "token", "password")):
            assert leaf.value in (None, ()), leaf.name
    assert "postgresql://" not in text


def deployments_in(application: Any) -> dict[str, Any]:
    """Every deployment that is bound into ``application``, by its name."""
    own = application._bound_deployment
    found = {own.name: own}
    for argument in own.init_args:
        if hasattr(argument, "_bound_deployment"):
            found |= deployments_in(argument)
    return found


def scale_of(deployment: Any) -> tuple[int, int]:
    scaling = deployment._deployment_config.autoscaling_config
    return (scaling.min_replicas, scaling.max_replicas) if scaling else (deployment.num_replicas,) * 2


@pytest.mark.ray
@pytest.mark.parametrize("path", SITES, ids=lambda path: path.name)
def test_application_agrees_with_the_config(path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    from serve.app import build, grpc_options

    schema = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    application = schema.applications[0]
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    settings = load(path)
    built = deployments_in(build(application.args))
    assert set(built) == {"Gateway", "Vectorizer", "Illustrator", "Worker"}
    expected = {"Gateway": settings.gateway, "Vectorizer": settings.vectorizer, "Illustrator": settings.illustrator}
    for name, own in expected.items():
        options = built[name].ray_actor_options
        assert options["num_cpus"] == own.num_cpus, name
        assert options.get("num_gpus", 0) == getattr(own, "num_gpus", 0), name
        assert scale_of(built[name]) == (own.min_replicas, own.max_replicas), name
    assert scale_of(built["Worker"]) == (settings.jobs.workers, settings.jobs.max_workers or settings.jobs.workers)
    assert built["Worker"].ray_actor_options["num_cpus"] == settings.jobs.num_cpus
    assert schema.grpc_options.grpc_servicer_functions == grpc_options(settings).grpc_servicer_functions


@pytest.mark.ray
@pytest.mark.parametrize("site", ["gpu", "cluster"])
def test_gpu_replica_holds_two_full_batches_and_scales_at_one(site: str) -> None:
    """docs/SCALE.md: with slots for one batch only, requests between two steps leave it half empty."""
    from serve.app import build

    path = HOME / "deployments" / f"{site}.yaml"
    assert load(path).illustrator.max_ongoing_requests == 2 * LARGEST_UNET_BATCH
    built = deployments_in(build(yaml.safe_load(path.read_text())["applications"][0]["args"]))
    scaling = built["Illustrator"]._deployment_config.autoscaling_config
    assert scaling.target_ongoing_requests == LARGEST_UNET_BATCH


@pytest.mark.ray
@pytest.mark.parametrize("path", SITES, ids=lambda path: path.name)
def test_jobs_alone_can_scale_to_every_replica(path: Path) -> None:
    """docs/SCALING.md: more jobs bring more workers, and these more replicas. With all slots of all workers taken,
    each ensemble that scales reaches its target with its maximum of replicas."""
    from serve.app import build

    jobs = load(path).jobs
    built = deployments_in(build(yaml.safe_load(path.read_text())["applications"][0]["args"]))
    _, workers = scale_of(built["Worker"])
    scaled = {"illustrate": built["Illustrator"], "vectorize": built["Vectorizer"]}
    for lane, ensemble in scaled.items():
        if (scaling := ensemble._deployment_config.autoscaling_config) is not None:
            wanted = math.ceil(workers * jobs.slots[lane] / scaling.target_ongoing_requests)
            assert wanted >= scaling.max_replicas, lane


@pytest.mark.ray
def test_gpu_fractions_fit_on_one_gpu(clean: pytest.MonkeyPatch) -> None:
    """One host with one GPU holds every replica that `gpu.yaml` allows."""
    from serve.app import build

    path = HOME / "deployments" / "gpu.yaml"
    built = deployments_in(build(yaml.safe_load(path.read_text())["applications"][0]["args"]))
    gpus = {name: one.ray_actor_options.get("num_gpus", 0) * scale_of(one)[1] for name, one in built.items()}
    assert gpus["Illustrator"] == 1.0
    assert sum(gpus.values()) <= 1.0
    clean.setenv("ATELIER_VECTORIZER__NUM_GPUS", "0.25")
    assert deployments_in(build({}))["Vectorizer"].ray_actor_options["num_gpus"] == 0.25


def evaluated(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The environment of a shell that has evaluated the output of `atelier environment`."""
    script = f'set -e; lines=$({sys.executable} -m serve.cli.main environment); eval "$lines"; env -0'
    return subprocess.run(
        ["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )


def test_cluster_node_gets_the_environment_of_a_single_host(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from serve.cluster.ray_environment import ray_environment

    own = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    own |= {"PYTHONPATH": str(HOME)}
    node = {
        "ATELIER_CONFIG": str(HOME / "deployments" / "cluster.yaml"),
        "ATELIER_PROXY__TOKEN": 'it\'s "$one" `token`',
        "ATELIER_RAY__HOST": "10.1.2.3",
        "ATELIER_HTTP__TRUSTED_PROXIES": '["10.0.0.0/8"]',
    }
    done = evaluated(tmp_path, **own, **node)
    assert done.returncode == 0, done.stderr
    shown = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    for name, value in node.items():
        clean.setenv(name, value)
    expected = ray_environment(load())
    assert {name: shown[name] for name in expected} == expected
    assert shown["ATELIER_CONFIG"] == node["ATELIER_CONFIG"]
    assert shown["HAPROXY_OWN_HOST"] == "10.1.2.3"


def test_nodes_without_a_common_token_are_refused(tmp_path: Path) -> None:
    done = evaluated(tmp_path, PATH=os.environ["PATH"], PYTHONPATH=str(HOME))
    assert done.returncode == 2
    assert "proxy.token" in done.stderr
    assert not done.stdout
