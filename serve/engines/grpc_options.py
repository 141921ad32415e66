"""gRPC channel options that differ from gRPC's defaults."""

from __future__ import annotations

NO_PROXY = ("grpc.enable_http_proxy", 0)
"""Ignore the proxy named by the environment, which gRPC would use for loopback too."""
RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5000),  # despite its name: the time limit of one connection attempt
    ("grpc.max_reconnect_backoff_ms", 500),
)
"""Reconnect quickly once a server is back; by default that may take two minutes."""


def channel_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Options of a channel to Triton."""
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.use_local_subchannel_pool", 1),
        *RECONNECT,
        NO_PROXY,
    ]
