"""The proxies of the ensembles, from Ray Serve's handles and the settings."""

from __future__ import annotations

from typing import Any

from ray.serve.handle import DeploymentHandle

from serve.cluster.hop.remote import RemoteIllustrator, RemoteVectorizer
from serve.cluster.hop.remote_ensemble import idle_state_of
from serve.cluster.ray_environment import max_message_bytes
from serve.cluster.replicas import APPLICATION
from serve.cluster.scale_to_zero import IdleState
from serve.settings import IllustratorSettings, Settings, VectorizerSettings


def remote_vectorizer(handle: DeploymentHandle[Any], settings: Settings) -> RemoteVectorizer:
    own = settings.vectorizer
    frames = max_message_bytes(settings) if _max_local(own) else 0
    return RemoteVectorizer(_over_grpc(handle), own.timeout_s, _idle_state("Vectorizer", own), _max_local(own), frames)


def remote_illustrator(handle: DeploymentHandle[Any], settings: Settings) -> RemoteIllustrator:
    own = settings.illustrator
    return RemoteIllustrator(_over_grpc(handle), own.timeout_s, _idle_state("Illustrator", own), _max_local(own))


def _max_local(own: VectorizerSettings | IllustratorSettings) -> int:
    """As many inferences as the replica itself works on at once, if there is but one."""
    return own.max_ongoing_requests if own.min_replicas == own.max_replicas == 1 else 0


def _over_grpc(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """Use gRPC, not actor calls: with those a replica blocks at the end of each call until the caller has read all
    items (Ray 2.60), so a frozen gateway would block every replica that it called."""
    return handle.options(stream=True, _by_reference=False)


def _idle_state(name: str, own: VectorizerSettings | IllustratorSettings) -> IdleState | None:
    return idle_state_of(APPLICATION, name) if own.min_replicas == 0 else None
