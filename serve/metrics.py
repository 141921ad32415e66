"""What is counted, whoever reads it: a process of the stack sends it where Ray's metrics go, any other nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Sink = Callable[[str, Mapping[str, str]], None]
"""Takes a counter's name and its labels."""

CACHE_LOOKUPS = "atelier_cache_lookups"
"""By ``result``, hit or miss: the share of hits is the cache's hit rate."""

MODERATION = "atelier_moderation"
"""By ``category``, and ``action``: flag, blur, refuse. Without an answer of the engine the category is "unchecked"."""

_sinks: list[Sink] = []


def send_to(sink: Sink) -> None:
    """From now on, of this process."""
    _sinks[:] = [sink]


def count(name: str, **labels: str) -> None:
    for sink in _sinks:
        sink(name, labels)
