"""The manifests (A-113, B-054): valid by Kubernetes' own schemas, and consistent with the code that they run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
import yaml
from custom_resources import MODELS, RayService
from image_recipe import FOLDER, Recipe
from pydantic import ValidationError
from standin import StandIn

from serve.api.app import create_app
from serve.settings import HOME, Settings, leaves, load

MANIFESTS = HOME / "deployments" / "kubernetes"
VERSION = "1.33"
FILES = sorted(path for path in MANIFESTS.glob("*.yaml") if path.name != "kustomization.yaml")
DOCUMENTS: list[dict[str, Any]] = [
    document for path in FILES for document in yaml.safe_load_all(path.read_text()) if document
]
SERVICE = RayService.model_validate(next(one for one in DOCUMENTS if one["kind"] == "RayService"))
CLUSTER = SERVICE.spec.rayClusterConfig
TEMPLATES = {"head": CLUSTER.headGroupSpec.template} | {
    group.groupName: group.template for group in CLUSTER.workerGroupSpecs
}
CLUSTER_YAML = HOME / "deployments" / "cluster.yaml"


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def core(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_manifests_match_kubernetes_schemas(document: dict[str, Any]) -> None:
    if model := MODELS.get(document["kind"]):
        model.model_validate(document)
    else:
        core(document)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_pods_of_ray_match_kubernetes_schemas(name: str) -> None:
    core({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": TEMPLATES[name]})


def test_service_of_the_ports_matches_kubernetes_schemas() -> None:
    core({"apiVersion": "v1", "kind": "Service"} | SERVICE.spec.serveService)


def test_schemas_reject_wrong_fields() -> None:
    document = next(one for one in DOCUMENTS if one["kind"] == "Ingress")
    with pytest.raises(kubernetes_validate.ValidationError):
        core(document | {"spec": document["spec"] | {"rulez": []}})
    with pytest.raises(ValidationError):
        RayService.model_validate(SERVICE.model_dump() | {"speck": {}})


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which has kustomize, is not installed")
def test_kustomize_builds_the_same_documents() -> None:
    done = subprocess.run(["kubectl", "kustomize", MANIFESTS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert sorted(map(named, built)) == sorted(map(named, DOCUMENTS))
    found = [one["metadata"]["labels"]["release"] for one in built if one["kind"] in ("PodMonitor", "PrometheusRule")]
    assert found == ["kube-prometheus-stack"] * 2, "what that chart's operator looks for"


def test_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in FILES]


def test_prometheus_resources_have_the_operators_labels() -> None:
    (patch,) = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["patches"]
    kinds = {one["kind"] for one in DOCUMENTS if one["apiVersion"].startswith("monitoring.coreos.com/")}
    assert set(patch["target"]["kind"].split("|")) == kinds
    assert [one["path"] for one in yaml.safe_load(patch["patch"])] == ["/metadata/labels/release"]


def test_rayservice_runs_the_cluster_application() -> None:
    assert yaml.safe_load(SERVICE.spec.serveConfigV2) == yaml.safe_load(CLUSTER_YAML.read_text())


def test_config_map_keys_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    data = next(one for one in DOCUMENTS if one["kind"] == "ConfigMap")["data"]
    known = {leaf.variable for leaf in leaves(Settings.model_construct())} | {"ATELIER_CONFIG"}
    assert set(data) <= known
    for name, value in data.items():
        monkeypatch.setenv(name, value.replace("/opt/atelier", str(HOME)))
    monkeypatch.setenv("ATELIER_RAY__HOST", "10.1.2.3")
    settings = load()
    assert settings.http.host == "0.0.0.0"
    assert settings.ray.host == "10.1.2.3"
    assert (settings.logs.console, settings.logs.format) == (True, "json"), "files go with the pod"
    assert settings.http.public_url == data["ATELIER_HTTP__PUBLIC_URL"]
    given = yaml.safe_load(CLUSTER_YAML.read_text())["applications"][0]["args"]
    for name in data.keys() - {"ATELIER_CONFIG"}:
        section, _, field = name.removeprefix("ATELIER_").lower().partition("__")
        assert field not in given.get(section, {}), f"{name} would lose against the arguments"


def test_no_secret_is_committed() -> None:
    assert not [one for one in DOCUMENTS if one["kind"] == "Secret"]
    guide = (HOME / "docs" / "DEPLOYMENT.md").read_text()
    text = "".join(path.read_text() for path in FILES)
    for name in set(re.findall(r"secret(?:KeyRef|Ref): \{name: ([\w-]+)", text)):
        assert f"create secret generic {name} " in guide, name


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, pod spec and container of every container in the manifests."""
    for name, template in TEMPLATES.items():
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            yield name, template["spec"], container
    for document in DOCUMENTS:
        if document["kind"] == "StatefulSet":
            for container in document["spec"]["template"]["spec"]["containers"]:
                yield named(document), document["spec"]["template"]["spec"], container


@pytest.mark.parametrize(("spec", "container"), [one[1:] for one in containers()], ids=[one[0] for one in containers()])
def test_each_container_has_few_privileges_and_limits(spec: dict[str, Any], container: dict[str, Any]) -> None:
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert {"requests", "limits"} <= set(container["resources"])
    assert "memory" in container["resources"]["limits"]
    assert re.search(r":v?\d+\.\d+", container["image"])


def test_only_the_head_has_a_kubernetes_token() -> None:
    for name, spec, _ in containers():
        assert spec.get("automountServiceAccountToken", True) is (name == "head"), name


def test_image_tags_equal_the_versions_of_project_and_ray() -> None:
    version = Recipe(FOLDER / "cpu.Dockerfile").arguments()["VERSION"]
    images = {container["image"] for _, _, container in containers()}
    assert {image for image in images if image.startswith("atelier")} == {
        f"atelier:{version}",
        f"atelier-gpu:{version}",
    }
    pins = dict(line.split("==") for line in (HOME / "constraints.txt").read_text().splitlines() if "==" in line)
    assert CLUSTER.rayVersion == pins["ray"]


def test_containers_run_as_the_images_user_by_its_script() -> None:
    user = Recipe(FOLDER / "cpu.Dockerfile").values("USER")[0]
    for name, template in TEMPLATES.items():
        context, container = template["spec"]["securityContext"], template["spec"]["containers"][0]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user, name
        *_, script = container["command"]
        path = HOME / script.removeprefix("/opt/atelier/")
        assert path.stat().st_mode & 0o111, name
        assert template["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}, name
        assert container["env"] == [
            {"name": "ATELIER_RAY__HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        ]


def doors() -> dict[str, dict[str, Any]]:
    """The ports that the Service finally has, by name. KubeRay 1.7 makes one for each port of the head's first
    container that is named `serve` or `serve-...`; of the manifest's own Service ports it keeps those with such
    names."""
    declared = {port["name"]: port for port in SERVICE.spec.serveService["spec"]["ports"]}
    found = {}
    for port in CLUSTER.headGroupSpec.template["spec"]["containers"][0]["ports"]:
        if port["name"] == "serve" or port["name"].startswith("serve-"):
            found[port["name"]] = declared.get(port["name"], {"name": port["name"], "port": port["containerPort"]})
    return found or declared


def test_ports_agree_with_the_settings() -> None:
    settings = load(CLUSTER_YAML)
    expected = {"serve": settings.http.port, "serve-grpc": settings.grpc.port}
    assert {name: port["port"] for name, port in doors().items()} == expected
    assert doors()["serve-grpc"]["appProtocol"] == "kubernetes.io/h2c"
    assert len(doors()) == len(SERVICE.spec.serveService["spec"]["ports"]), "one that we write down is dropped"
    for name, template in TEMPLATES.items():
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert expected.items() <= ports.items(), name
        assert ports["proxy-metrics"] == settings.proxy.metrics_port
    scraped = next(one for one in DOCUMENTS if one["kind"] == "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert {one["port"] for one in scraped} <= set(ports)


def test_every_route_leads_to_a_port_of_the_service() -> None:
    reached = {}
    for document in DOCUMENTS:
        if document["kind"] == "Ingress":
            backend = document["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
            assert backend["name"] == SERVICE.spec.serveService["metadata"]["name"]
            reached[named(document)] = doors()[backend["port"]["name"]]["port"]
    settings = load(CLUSTER_YAML)
    assert reached == {"Ingress atelier-http": settings.http.port, "Ingress atelier-grpc": settings.grpc.port}


def test_plans_are_written_to_the_served_repository() -> None:
    job = yaml.safe_load((MANIFESTS / "plans" / "job.yaml").read_text())
    core(job | {"metadata": job["metadata"] | {"name": "atelier-plans-x"}})
    assert "name" not in job["metadata"], "another run is another Job"
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    serving = TEMPLATES["gpu"]["spec"]
    assert spec["tolerations"] == serving["tolerations"]
    assert spec["securityContext"].items() <= serving["securityContext"].items()
    assert container["securityContext"] == serving["containers"][0]["securityContext"]
    target = next(one for one in DOCUMENTS if one["kind"] == "ConfigMap")["data"][
        "ATELIER_ILLUSTRATOR__MODEL_REPOSITORY"
    ]
    assert container["args"][-1] == target == container["volumeMounts"][0]["mountPath"]
    assert container["image"].partition(":")[2] == serving["containers"][0]["image"].partition(":")[2]


def test_new_release_can_be_applied_over_the_previous_one() -> None:
    """The template of a Job is immutable, its image too: otherwise `kubectl apply` of the next release fails."""
    assert not [named(one) for one in DOCUMENTS if one["kind"] == "Job"]


def test_models_are_installed_by_the_head_before_workers_start() -> None:
    """KubeRay starts workers after the head, which starts after its init container has ended."""
    first = TEMPLATES["head"]["spec"]["initContainers"][0]
    assert first["command"][:3] == ["atelier", "models", "add"]
    source, option, target = first["command"][3:]
    assert option == "--repository"
    assert (HOME / source.removeprefix("/opt/atelier/")).samefile(HOME / "model_repository")
    mounts = {name: {one["name"]: one for one in container["volumeMounts"]} for name, _, container in ray_containers()}
    assert first["volumeMounts"] == [{"name": "models", "mountPath": target}]
    data = next(one for one in DOCUMENTS if one["kind"] == "ConfigMap")["data"]
    assert data["ATELIER_ILLUSTRATOR__MODEL_REPOSITORY"] == data["ATELIER_VECTORIZER__MODEL_REPOSITORY"] == target
    assert mounts.keys() == TEMPLATES.keys()
    for name, one in mounts.items():
        assert one["models"] == {"name": "models", "mountPath": target, "readOnly": True}, name


def ray_containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The containers that run a node of Ray."""
    return (one for one in containers() if one[2]["name"].startswith("ray-"))


def test_probes_request_existing_routes() -> None:
    """Workers are ready once a gateway responds on their own port; by then ensembles have loaded their engines."""
    paths = create_app(StandIn(), Settings()).openapi()["paths"]
    for group in CLUSTER.workerGroupSpecs:
        probe = group.template["spec"]["containers"][0]["readinessProbe"]["httpGet"]
        assert probe["path"] in paths
        assert probe["port"] == load(CLUSTER_YAML).http.port


@pytest.mark.ray
def test_ray_has_the_node_health_route() -> None:
    from pathlib import Path

    import ray
    from ray._private import ray_constants

    agent = Path(ray.__file__).parent / "dashboard" / "modules" / "reporter" / "healthz_agent.py"
    for template in TEMPLATES.values():
        probe = template["spec"]["containers"][0]["livenessProbe"]["httpGet"]
        assert f'"{probe["path"]}"' in agent.read_text()
        assert probe["port"] == ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT


def test_every_replica_fits_on_a_worker() -> None:
    settings = load(CLUSTER_YAML)
    sizes = []
    for group in CLUSTER.workerGroupSpecs:
        limits = group.template["spec"]["containers"][0]["resources"]["limits"]
        sizes.append((float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0))))
    for own in (settings.gateway, settings.vectorizer, settings.illustrator, settings.jobs):
        needs = own.num_cpus, getattr(own, "num_gpus", 0.0)
        assert any(cpus >= needs[0] and gpus >= needs[1] for cpus, gpus in sizes), own
    cpu, gpu, spot = CLUSTER.workerGroupSpecs
    gateway, vectorizer, illustrator, jobs = settings.gateway, settings.vectorizer, settings.illustrator, settings.jobs
    for pods, gateways, vectorizers, workers in (
        (cpu.minReplicas, gateway.min_replicas, vectorizer.min_replicas, jobs.workers),
        (cpu.maxReplicas, gateway.max_replicas, vectorizer.max_replicas, jobs.max_workers or jobs.workers),
    ):
        needed = gateways * gateway.num_cpus + vectorizers * vectorizer.num_cpus + workers * jobs.num_cpus
        assert pods * sizes[0][0] >= needed, "the smallest cluster has room for the fewest, the largest for the most"
    drawing = illustrator.max_replicas * illustrator.num_gpus
    assert gpu.maxReplicas * sizes[1][1] + spot.maxReplicas * sizes[2][1] >= drawing
    assert CLUSTER.headGroupSpec.rayStartParams["num-cpus"] == "0"


def test_spot_workers_are_zero_by_default() -> None:
    spot = next(group for group in CLUSTER.workerGroupSpecs if group.groupName.endswith("spot"))
    assert (spot.replicas, spot.minReplicas) == (0, 0)
    spec = spot.template["spec"]
    ((key, value),) = spec["nodeSelector"].items()
    assert {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} in spec["tolerations"]
    assert spec["terminationGracePeriodSeconds"] < 120, "the notice that such machines get"


def test_selectors_match_our_pods() -> None:
    labels = [template["metadata"]["labels"].items() for template in TEMPLATES.values()]
    for document in DOCUMENTS:
        if document["kind"] in ("PodMonitor", "PodDisruptionBudget"):
            wanted = document["spec"]["selector"]["matchLabels"]
            expected = {item for item in wanted.items() if not item[0].startswith("ray.io/")}  # KubeRay's own labels
            assert all(expected <= set(one) for one in labels), named(document)
    policy = next(one for one in DOCUMENTS if named(one) == "NetworkPolicy atelier-nodes")["spec"]
    assert all(set(policy["podSelector"]["matchLabels"].items()) <= set(one) for one in labels)
    open_to_others = {port["port"] for rule in policy["ingress"][1:] for port in rule["ports"]}
    assert 6379 not in open_to_others
    assert 10001 not in open_to_others


def may_connect(address: str, port: int, protocol: str) -> bool:
    """Whether the policy allows a node's packet, as Kubernetes evaluates it: any rule, by any of its blocks and
    ports."""
    policy = next(one for one in DOCUMENTS if named(one) == "NetworkPolicy atelier-nodes")["spec"]
    there = ip_address(address)
    for rule in policy["egress"]:
        if "ports" in rule and {"port": port, "protocol": protocol} not in rule["ports"]:
            continue
        for block in (one["ipBlock"] for one in rule["to"]):
            if there in ip_network(block["cidr"]) and not any(
                there in ip_network(one) for one in block.get("except", ())
            ):
                return True
    return False


def test_policy_allows_dns_and_blocks_the_metadata_address() -> None:
    for protocol in ("UDP", "TCP"):
        for resolver in ("10.96.0.10", "169.254.20.10", "fd00::a"):  # the cluster's, and NodeLocal DNSCache's
            assert may_connect(resolver, 53, protocol), resolver
        for cloud in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"):
            assert not may_connect(cloud, 80, protocol), cloud
            assert not may_connect(cloud, 53, protocol), cloud
    assert not may_connect("169.254.20.10", 80, "TCP")
    assert may_connect("203.0.113.7", 443, "TCP")


def labels(name: str) -> dict[str, str]:
    """The labels of a pod of this group: the template's, and KubeRay's own."""
    head = name == "head"
    own = {"ray.io/node-type": "head" if head else "worker", "ray.io/group": "headgroup" if head else name}
    return TEMPLATES[name]["metadata"]["labels"] | own


def drainable(budget: dict[str, Any]) -> None:
    """Fails if a budget blocks eviction for ever. For `maxUnavailable` or a percentage, Kubernetes' controller reads
    the scale of the pods' owner. A RayCluster has none, and then no pod may be evicted: only an integer
    `minAvailable` works, and only if the group's minimum is larger."""
    wanted = budget["spec"]["selector"]["matchLabels"].items()
    fewest = {"head": 1} | {group.groupName: group.minReplicas for group in CLUSTER.workerGroupSpecs}
    caught = [name for name in TEMPLATES if wanted <= labels(name).items()]
    assert caught, "it selects none of Ray's pods"
    assert "maxUnavailable" not in budget["spec"]
    assert isinstance(budget["spec"]["minAvailable"], int)
    assert 0 < budget["spec"]["minAvailable"] < sum(fewest[name] for name in caught)


def test_every_node_can_be_drained() -> None:
    budgets = [one for one in DOCUMENTS if one["kind"] == "PodDisruptionBudget"]
    assert budgets
    for budget in budgets:
        drainable(budget)


@pytest.mark.parametrize(
    ("limit", "group"),
    [({"maxUnavailable": 1}, "cpu"), ({"minAvailable": "50%"}, "cpu"), ({"minAvailable": 2}, "cpu"),
     ({"minAvailable": 1}, "gpu"), ({"minAvailable": 1}, "headgroup")],
)  # fmt: skip
def test_budgets_that_block_draining_are_detected(limit: dict[str, Any], group: str) -> None:
    with pytest.raises(AssertionError):
        drainable({"spec": limit | {"selector": {"matchLabels": {"ray.io/group": group}}}})


def test_node_starts_with_kuberays_arguments(tmp_path: Any) -> None:
    """The script of the image, with a stand-in for `atelier` that sets one variable, and one for `ray`."""
    for name, text in {
        "atelier": "#!/bin/sh\necho \"export GIVEN='two words'\"",
        "ray": '#!/bin/sh\nprintf "%s|" "$GIVEN" "$@"',
        "failing": "#!/bin/sh\nexit 2",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "KUBERAY_GEN_RAY_START_CMD": "ray start --head --resources='{\"a\": 1}' --block",
        "RAY_START_ULIMIT_OPEN_FILES": "1024",
    }
    done = subprocess.run([FOLDER / "ray-node"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == 'two words|start|--head|--resources={"a": 1}|--block|'
    (tmp_path / "failing").rename(tmp_path / "atelier")
    done = subprocess.run([FOLDER / "ray-node"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), "no node without its environment"
