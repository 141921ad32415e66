"""How the channels of this project differ from gRPC's defaults."""

from __future__ import annotations

DIRECT = ("grpc.enable_http_proxy", 0)
"""Past the proxy that the environment names, which would be asked for loopback, too."""
RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5000),  # despite its name: how long an attempt may take, as on a busy machine
    ("grpc.max_reconnect_backoff_ms", 500),
)
"""A server that was away is used as soon as it is back; by default that may take two minutes."""
