"""Ray's processes of a head node that nothing here uses are not started.

`ray.init` of Ray 2.60 has no options for it. The autoscaler's monitor starts and stops machines of a cloud; machines
join by `atelier join`. The log monitor sends the output of workers to drivers, which do not print it (each process has
its own log). The dashboard's server starts even if the dashboard is off, and `ray.init` waits for it.
"""

from __future__ import annotations

from typing import Any

from ray._private.node import Node


def skip_unused_processes(has_dashboard: bool) -> None:
    """For this process, before `ray.init`."""
    unused = ["start_monitor", "start_log_monitor"]
    if not has_dashboard:
        unused.append("start_api_server")
    for name in unused:
        setattr(Node, name, _start_nothing)


def _start_nothing(*_: Any, **__: Any) -> None:
    return None
