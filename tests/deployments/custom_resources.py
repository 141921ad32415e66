"""The fields of custom resources that our manifests use, by the documents of KubeRay 1.7 and Prometheus' operator.

No known package of PyPI has their schemas. Fields that are not named here are refused, as the operators' own schemas
would; pods and services inside are checked by Kubernetes' schemas. How an operator treats valid fields (names of
ports,
which pods a budget may count) is tested by its rules in test_kubernetes.py; the last check is a cluster's own,
`kubectl apply --dry-run=server`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Upgrade(Part):
    type: Literal["NewCluster", "None", "NewClusterWithIncrementalUpgrade"]


class Auth(Part):
    mode: Literal["disabled", "token"]


class Autoscaler(Part):
    idleTimeoutSeconds: int = Field(ge=0)
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    resources: dict[str, dict[str, str]]
    securityContext: dict[str, Any]


class FaultTolerance(Part):
    redisAddress: str
    redisPassword: dict[str, Any]


class Head(Part):
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class WorkerGroup(Part):
    groupName: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=0)
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class Cluster(Part):
    rayVersion: str
    authOptions: Auth
    enableInTreeAutoscaling: bool
    autoscalerOptions: Autoscaler
    gcsFaultToleranceOptions: FaultTolerance
    headGroupSpec: Head
    workerGroupSpecs: list[WorkerGroup]


class RayServiceSpec(Part):
    upgradeStrategy: Upgrade
    excludeHeadPodFromServeSvc: bool
    serveService: dict[str, Any]
    serveConfigV2: str
    rayClusterConfig: Cluster


class RayService(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: dict[str, Any]
    spec: RayServiceSpec


class Relabeling(Part):
    sourceLabels: list[str] = []
    regex: str = "(.*)"
    targetLabel: str | None = None
    replacement: str = "$1"
    action: Literal["replace", "labeldrop"] = "replace"


class Endpoint(Part):
    port: str
    interval: str = Field(pattern=r"^\d+[sm]$")
    relabelings: list[Relabeling] = []
    metricRelabelings: list[Relabeling] = []


class PodMonitorSpec(Part):
    selector: dict[str, dict[str, str]]
    namespaceSelector: dict[Literal["matchNames"], list[str]]
    jobLabel: str
    podMetricsEndpoints: list[Endpoint]


class PodMonitor(Part):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: dict[str, Any]
    spec: PodMonitorSpec


class AlertRule(Part):
    alert: str = Field(pattern=r"^[A-Z][A-Za-z]+$")
    expr: str
    for_: str = Field(alias="for", pattern=r"^\d+[smh]$")
    labels: dict[str, str]
    annotations: dict[str, str]


class RuleGroup(Part):
    name: str
    rules: list[AlertRule] = Field(min_length=1)


class RuleSpec(Part):
    groups: list[RuleGroup] = Field(min_length=1)


class PrometheusRule(Part):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: dict[str, Any]
    spec: RuleSpec


MODELS: dict[str, type[BaseModel]] = {
    "RayService": RayService,
    "PodMonitor": PodMonitor,
    "PrometheusRule": PrometheusRule,
}
