"""A stack on several machines: where this one is found, and what all of them have to share."""

from __future__ import annotations

import socket

from sqlalchemy.engine import make_url

from serve.errors import InvalidRequest
from serve.settings import Settings
from serve.settings.loopback import is_loopback

NODE = "node"
"""For ``ray.host``: the address by which this machine reaches the others."""
ANYWHERE = ("192.0.2.1", 9)
"""Nobody has it (RFC 5737), and nothing is sent to it: it is asked which of our addresses would."""


def with_addresses(settings: Settings, towards: tuple[str, int] = ANYWHERE) -> Settings:
    """With this machine's own address for ``node``: the one that leads ``towards`` (host, port).

    Raises InvalidRequest when the machine has none.
    """
    if settings.ray.host != NODE:
        return settings
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(towards)
        except OSError as error:
            told = f"this machine's address is not found ({error.strerror}): set ATELIER_RAY__HOST to it"
            raise InvalidRequest(told, "ray.host") from None
        host = probe.getsockname()[0]
    return settings.model_copy(update={"ray": settings.ray.model_copy(update={"host": host})})


def check_shared_state(settings: Settings) -> None:
    """Raises InvalidRequest that names what a stack on several machines cannot do with."""
    database = settings.database.url
    missing = {
        "ray.host": is_loopback(settings.ray.host) and "nobody elsewhere reaches loopback: set it to node",
        "database.url": (database is None or make_url(database.get_secret_value()).get_backend_name() == "sqlite")
        and "SQLite is one machine's: name a PostgreSQL server",
        "objects.url": settings.objects.url is None
        and "a folder in state_dir is one machine's: name a store (s3://...), or a folder that all machines share",
        "secrets.keys": not settings.secrets.keys and "one made in state_dir is one machine's: give all the same",
        "proxy.token": settings.proxy.token is None and "one made at start is one machine's: give all the same",
    }
    for field, told in missing.items():
        if told:
            raise InvalidRequest(told, field)
