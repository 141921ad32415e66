"""Where the project's folders are: in a checkout, or with an installed package.

A checkout has `model_repository`, `deployments` and `var` beside `serve`. A wheel carries the first two inside the
package, as `serve/data`, where nothing is ever written; its `var` is the platform's data folder of the user, such as
~/.local/share/atelier.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from platformdirs import user_data_path

PACKAGE = Path(str(files("serve")))
IMPORT_ROOT = PACKAGE.parent
"""The folder from which another process imports `serve`."""
PACKAGE_DATA = PACKAGE / "data"
IS_INSTALLED = PACKAGE_DATA.is_dir()
"""Whether the package was installed from a wheel. An editable install is a checkout."""
HOME = user_data_path("atelier") if IS_INSTALLED else IMPORT_ROOT
"""The project's folder: relative paths in settings are taken from here, wherever the command was started."""
FOLDERS: Mapping[str, Path] = (
    {
        "model_repository": PACKAGE_DATA / "model_repository",
        "deployments": PACKAGE_DATA / "deployments",
        "var": HOME,
    }
    if IS_INSTALLED
    else {}
)
"""Those of the project's folders that are not in `HOME`, by the name that they have in a checkout."""


def project_path(path: Path | str) -> Path:
    """``path`` as it is, or below the project's folder where it is relative: ``deployments/haproxy`` and
    ``var/backups`` mean the same for a checkout and for an installed package."""
    path = Path(path)
    if not path.is_absolute() and path.parts and path.parts[0] in FOLDERS:
        return FOLDERS[path.parts[0]].joinpath(*path.parts[1:])
    return HOME / path


def numba_environment(state_dir: Path) -> dict[str, str]:
    """The variable with which Numba keeps the machine code of an installed tracer with the state, unless it has one.

    In a checkout it is beside the sources.
    """
    if not IS_INSTALLED or "NUMBA_CACHE_DIR" in os.environ:
        return {}
    return {"NUMBA_CACHE_DIR": str(state_dir / "numba")}


def module_command(module: str) -> list[str]:
    """The command that runs ``module`` in another process. Of an installed package no file of the working folder can
    take a module's place; a checkout may be found through that folder."""
    return [sys.executable, *(["-P"] if IS_INSTALLED else []), "-m", module]
