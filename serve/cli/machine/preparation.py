"""What commands do before they start engines: refuse, with the remedy, what cannot work; compile the tracer once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console

from serve.cli.machine import checks, software
from serve.cli.machine.checks import Check
from serve.errors import EngineUnavailable, InvalidRequest
from serve.settings import IS_INSTALLED, PACKAGE_DATA, Settings, numba_environment, python_environment

_WARM = "from serve.ensembles.vectorizer.tasks import warm; warm()"


def check_stack(settings: Settings) -> None:
    """Raises EngineUnavailable with the first thing that keeps a stack of ``settings`` from starting."""
    _require([software.python(), checks.data_folder(settings), *software.programs(settings), *checks.engines(settings)])


def check_vectorizer(settings: Settings) -> None:
    """Raises EngineUnavailable with what keeps a Vectorizer in this process from starting."""
    own = settings.vectorizer
    if own.engines_url is None:
        _require([*checks.vectorizer_engines(own), *software.triton(own.tritonserver)])


def check_illustrator(settings: Settings) -> None:
    """Raises EngineUnavailable with what keeps an Illustrator in this process from starting."""
    own = settings.illustrator
    if own.engines_url is None:
        _require([*checks.illustrator_engines(own), *software.triton(own.tritonserver)])


def _require(made: Iterable[Check]) -> None:
    for check in made:
        if check.required and not check.ok:
            raise EngineUnavailable(
                f"{check.name}: {check.detail}. To mend it: {check.remedy}. `atelier doctor` checks everything"
            )


def writable_repository(folder: Path) -> Path:
    """``folder``. Raises InvalidRequest where it is of an installed package, in which nothing is written."""
    if IS_INSTALLED and folder.resolve().is_relative_to(PACKAGE_DATA.resolve()):
        raise InvalidRequest(
            f"the engines in {folder} are the installed package's, which nothing is added to. Make a repository of "
            f"your own: atelier models add {folder} --repository DIR; and name it in the settings: "
            "ATELIER_VECTORIZER__MODEL_REPOSITORY=DIR ATELIER_ILLUSTRATOR__MODEL_REPOSITORY=DIR",
            "--repository",
        )
    return folder


def compile_tracer(settings: Settings, err: Console) -> None:
    """Have the tracer's machine code made, where an installed package has none yet; a minute, once.

    In the replica that needs it, it would count as a start that takes too long. A failure is left to that replica.
    """
    os.environ.update(numba_environment(settings.state_dir))
    cache = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not IS_INSTALLED or next(cache.rglob("*.nbc"), None) is not None:
        return
    status: AbstractContextManager[Any] = err.status("Compiling the tracer for this processor: about a minute, once")
    with status:
        subprocess.run([sys.executable, "-P", "-c", _WARM], env=python_environment(), check=False)


def ray_working_folder(settings: Settings) -> AbstractContextManager[None]:
    """The folder to start or join Ray in: its workers import from there before all packages. Of an installed package it
    is the one for state, so that no file of the folder in which the command runs can take a module's place."""
    if not IS_INSTALLED:
        return contextlib.nullcontext()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    return contextlib.chdir(settings.state_dir)
