"""Memory of a whole stack: proportional set size, in which a page shared by n processes counts 1/n for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import psutil


def pss_bytes(roots: Iterable[int]) -> dict[str, int]:
    """PSS by kind of process over the trees below ``roots`` (pids). Processes that end meanwhile are left out."""
    found: defaultdict[str, int] = defaultdict(int)
    for process in _trees(roots):
        try:
            found[kind_of(process.cmdline())] += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return dict(found)


def _trees(roots: Iterable[int]) -> list[psutil.Process]:
    seen: dict[int, psutil.Process] = {}
    for pid in roots:
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        seen.update({process.pid: process for process in tree})
    return list(seen.values())


def kind_of(command: list[str]) -> str:
    """What a process of the stack is, by its command line."""
    line = " ".join(command)
    for mark, kind in _KINDS.items():
        if mark in line:
            return kind
    return "other"


_KINDS = {
    "ServeReplica": "replicas",
    "ServeController": "serve controller",
    "ProxyActor": "proxy",
    "HAProxyManager": "proxy",
    "haproxy": "proxy",
    "triton_python_backend_stub": "Triton backends",
    "tritonserver": "Triton",
    "gcs_server": "Ray core",
    "raylet": "Ray core",
    "dashboard": "Ray dashboard",
    "serve.ensembles.vectorizer.fork_server": "tracing workers",
    "multiprocessing.spawn": "tracing workers",
    "multiprocessing.resource_tracker": "tracing workers",
    "serve.cli.main": "atelier up",
    "log_monitor": "Ray core",
    "ray::": "Ray workers",
}
