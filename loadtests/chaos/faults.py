"""What is done to a site, one thing at a time: a table. To add a fault is to add a row."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import psutil

from loadtests.chaos.site import DISK, SERVERS, Site

KILL, FREEZE = signal.SIGKILL, signal.SIGSTOP
OUTAGE_S = 5.0
LATE_S = 1.2
"""Triton waits a second for its stubs."""


@dataclass(frozen=True)
class Fault:
    """``inject`` says whom it struck. ``heal`` ends what only an operator ends, and recovery counts from then on;
    without one the stack has to mend itself, and recovery counts from the fault. ``restore`` puts back what the fault
    took, once it is over and before the next.

    ``note`` says what the figures do not.
    """

    name: str
    site: str
    inject: Callable[[Site], str]
    heal: Callable[[Site], None] | None = None
    short: bool = False
    note: str = ""
    restore: Callable[[], None] | None = None


def _oldest(kind: str, holding: str, site: Site) -> tuple[psutil.Process, str]:
    """Of the processes of ``kind`` with ``holding`` in their commands; and how to tell of it."""
    found = [one for one in site.of(kind) if holding in " ".join(one.cmdline())]
    if not found:
        raise LookupError(f"the stack has no process {kind!r}")
    return found[0], f"pid {found[0].pid} of {len(found)}"


def inject(kind: str, number: signal.Signals, site: Site, holding: str = "") -> str:
    process, description = _oldest(kind, holding, site)
    process.send_signal(number)
    return description


def _hold_up(kind: str, holding: str, watcher: str, site: Site) -> str:
    """A process at work stands still for longer than its server waits for it, and goes on where it was. So does who
    watches both, and sees nothing that stands still, as on a machine that did."""
    process, description = _oldest(kind, holding, site)
    watching = next((one for one in process.parents() if "".join(one.cmdline()[:1]).startswith(watcher)), None)
    if watching is None:
        raise LookupError(f"no process {watcher!r} watches {description}")
    _until_busy(process)
    try:
        process.suspend()
        watching.suspend()
        time.sleep(LATE_S)
    finally:
        for one in (process, watching):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()
    return f"{description}, for {LATE_S:g} s"


def _until_busy(process: psutil.Process, most_s: float = 10.0) -> None:
    before, deadline = sum(process.cpu_times()[:2]), time.monotonic() + most_s
    while sum(process.cpu_times()[:2]) <= before and time.monotonic() < deadline:
        time.sleep(0.005)


def _of(
    name: str,
    kind: str,
    *,
    holding: str = "",
    short: Sequence[str] = (),
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Fault]:
    """Both signals; ``short`` and ``notes`` by the signal's name."""
    for number in (KILL, FREEZE):
        act = partial(inject, kind, number, holding=holding)
        yield Fault(f"{name} {number.name}", SERVERS, act, short=number.name in short, note=notes.get(number.name, ""))


def _server(name: str, attribute: str, *, short: bool = False) -> Iterator[Fault]:
    """A server beside the stack, away for ``OUTAGE_S``."""

    def act(verb: str, site: Site) -> None:
        getattr(getattr(site, attribute), verb)()

    def away(verb: str, site: Site) -> str:
        act(verb, site)
        return f"for {OUTAGE_S:g} s"

    yield Fault(f"{name} SIGKILL", SERVERS, partial(away, "stop"), partial(act, "start"), short=short)
    yield Fault(f"{name} SIGSTOP", SERVERS, partial(away, "freeze"), partial(act, "thaw"))


def _fill(site: Site) -> str:
    assert site.disk is not None
    chunk, written = bytes(1024 * 1024), 0
    with (site.disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            written += file.write(chunk)
    with (site.disk / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            written += file.write(chunk[:512])
    return f"with {written / 1e6:.0f} MB, for {OUTAGE_S:g} s"


def _clear(site: Site) -> None:
    assert site.disk is not None
    (site.disk / "filler").unlink()


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *_of("Triton stub", "triton_python_backend_stub", holding="mini_unet", short=["SIGKILL"]),
        Fault(
            "Triton stub late",
            SERVERS,
            partial(_hold_up, "triton_python_backend_stub", "mini_unet", "ray::ServeReplica"),
        ),
        *_of("tritonserver", "tritonserver", holding="mini_unet", short=["SIGKILL", "SIGSTOP"]),
        *_of("Vectorizer replica", "ray::ServeReplica:atelier:Vectorizer", short=["SIGKILL"]),
        *_of("Illustrator replica", "ray::ServeReplica:atelier:Illustrator"),
        *_of("gateway", "ray::ServeReplica:atelier:Gateway", short=["SIGKILL"]),
        *_of("HAProxy", "haproxy", short=["SIGKILL"]),
        *_of("HAProxyManager", "ray::WatchedHAProxyManager"),
        *_of("ProxyActor", "ray::ProxyActor"),
        *_of("worker", "ray::ServeReplica:atelier:Worker", short=["SIGKILL"]),
        *_of("controller", "ray::ServeController", short=["SIGKILL"]),
        *_server("PostgreSQL", "database", short=True),
        *_server("Redis", "redis"),
        *_server("object store", "endpoint"),
        Fault("full disk", DISK, _fill, _clear),
        # What befalls a machine needs two: `loadtests.chaos.nodes`.
    )
}
