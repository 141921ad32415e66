"""Whether a version of an engine may be served: its files are what its manifest says, it answered as its network did,
and it answers now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serve.engines import repository_view
from serve.engines.client import Engines
from serve.engines.versions import manifest_of
from serve.errors import AtelierError, Conflict

SMOKE_TIMEOUT_S = 20.0
_FILE = re.compile(r'^\s*default_model_filename\s*:\s*"([^"]+)"', re.MULTILINE)
_LIMITS = (("max_relative_error", "largest_limit"), ("relative_rms_error", "limit"))
"""Which figure of a manifest which of its limits is for; where these are not, ``max_abs_error`` has ``limit``."""


def check_files(engine: Path, version: str) -> None:
    """Of ``version`` in the folder ``engine``. Raises Conflict with the reason. Reads all of the files."""
    name = f"{engine.name}/{version}"
    folder = engine / version
    if not repository_view.is_number(version) or not folder.is_dir():
        raise Conflict(f"{name} is not in the model repository")
    try:
        manifest = manifest_of(engine, version)
        if manifest is None:
            raise Conflict(f"{name} has no manifest.json")
        _check_label(engine, version, str(manifest["version"]))
        for file, expected in _sums(engine, manifest).items():
            if not (folder / file).is_file():
                raise Conflict(f"{name} lacks {file}, which its manifest names")
            if _sha256(folder / file) != expected:
                raise Conflict(f"{name}: the checksum of {file} is not the manifest's")
        _check_parity(name, manifest["parity"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Conflict(f"{name}: its manifest cannot be used ({type(error).__name__})") from error


async def check_answers(client: Engines, engine: str, version: str) -> None:
    """One real inference. Raises Conflict."""
    try:
        outputs = await client.probe(engine, timeout_s=SMOKE_TIMEOUT_S, version=version)
        promised = {output["name"] for output in (await client.config(engine)).get("output", [])}
    except AtelierError as error:
        raise Conflict(f"{engine}/{version} does not answer: {error}") from error
    if missing := promised - set(outputs):
        raise Conflict(f"{engine}/{version} does not answer with {', '.join(sorted(missing))}")
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Conflict(f"{engine}/{version} answers with numbers that are not finite, in {name}")


def _check_label(engine: Path, version: str, label: str) -> None:
    """Answers tell versions by their labels: two of one label would be one to whoever reads them, caches among them."""
    for other in repository_view.numbers(engine):
        manifest = manifest_of(engine, other) if other != version else None
        if manifest is not None and str(manifest["version"]) == label:
            raise Conflict(f"{engine.name}/{version} calls itself {label!a} in its manifest, and so does {other}")


def _check_parity(name: str, parity: Mapping[str, Any]) -> None:
    limits = [(figure, limit) for figure, limit in _LIMITS if limit in parity and figure in parity]
    for figure, limit in limits or [("max_abs_error", "limit")]:
        found, most = float(parity[figure]), float(parity[limit])
        if not found <= most:
            raise Conflict(f"{name}: its {figure} is {found:g}, and its {limit} {most:g}")


def _sums(engine: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each file, in hex."""
    if "files" in manifest:
        return {file: str(told["sha256"]) for file, told in manifest["files"].items()}
    found = _FILE.search((engine / repository_view.CONFIG).read_text())
    return {found.group(1) if found else "model.onnx": str(manifest["sha256"])}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
