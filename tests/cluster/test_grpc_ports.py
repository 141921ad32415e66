"""The gRPC servers of Ray Serve: on the configured address, each on its own port."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.serve._private import grpc_util
from ray.serve.config import gRPCOptions

from loadtests.load.stack import free_ports
from serve.cluster.ray_process import bind_servers_to

pytestmark = pytest.mark.ray


async def start(port: int) -> tuple[asyncio.Task[None], Any]:
    def factory(**_: Any) -> None:
        return None

    loop = asyncio.get_running_loop()
    started: tuple[asyncio.Task[None], Any] = await grpc_util.start_grpc_server(
        factory, gRPCOptions(port=port), event_loop=loop
    )
    return started


async def test_two_gateways_never_share_a_port() -> None:
    """A second stack's gateway must use another port; with the first one's port it would receive half of its
    requests."""
    bind_servers_to("127.0.0.1")
    (port,) = free_ports(1)
    task, server = await start(port)
    try:
        with pytest.raises(RuntimeError, match="bind"):
            await start(port)
    finally:
        await server.stop(0)
        await task
