"""npm packages as sources of data: installed at fixed versions and without scripts into a git-ignored folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def install(folder: Path, packages: Sequence[str]) -> None:
    """``npm install`` of ``packages`` ("name@version") into ``folder``. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "install", "--prefix", str(folder), *options, *packages], check=True, timeout=900)


def path_of(folder: Path, package: str) -> Path:
    """Where ``install`` has put ``package``."""
    return folder / "node_modules" / package


def read_json(folder: Path, package: str, name: str) -> Any:
    """The JSON file ``name`` of an installed package; an empty object where the package has no such file."""
    path = path_of(folder, package) / name
    return json.loads(path.read_text()) if path.is_file() else {}
