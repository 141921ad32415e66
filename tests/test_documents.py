"""What documents name is there: files, folders, modules, commands, targets of `make`, settings."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from serve.cli.main import app
from serve.settings import HOME, Settings

DOCUMENTS = sorted([HOME / "README.md", HOME / "build_engines" / "README.md", *(HOME / "docs").glob("*.md")])
ROOMS = ("build_engines", "deployments", "docs", "loadtests", "serve", "tests")
PATH = re.compile(rf"(?<![\w/.:@-])((?:{'|'.join(ROOMS)})/(?>[\w./-]*[\w/]))(?!\.?[{{*<])")
PYTHON_FILE = re.compile(r"(?<![\w/.-])([a-z_]+(?:/[a-z_0-9]+)+\.py)\b")
MODULE = re.compile(rf"python3? -m ((?:{'|'.join(ROOMS)})[\w.]*\w)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
MAKE = re.compile(r"(?:^|[`;&]) *make ([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|[`(;|&]) *(?:\.venv/bin/)?atelier ((?:[a-z][a-z-]+ ?)+)", re.MULTILINE)
DOTTED = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)[`(]")
SETTING = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)`")
LINK = re.compile(r"\]\(([\w./-]*?(?:\.md)?)(?:#([\w-]+))?\)")
COMMANDS = typer.main.get_command(app)
MADE_ON_THE_WAY = ("deployments/docker/models", "serve/data/deployments", "serve/data/model_repository")
"""Folders that a document has its reader make, and those that only a wheel has."""
LOGGERS = ("serve.requests",)
FILE_TYPES = ("json", "pem", "txt", "yaml")


def each(test: Any) -> Any:
    return pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)(test)


def code(document: Path) -> str:
    return "\n".join(CODE.findall(document.read_text()))


@cache
def files() -> tuple[str, ...]:
    return tuple(f"/{path.relative_to(HOME)}" for room in ROOMS for path in (HOME / room).rglob("*.py"))


def missing_paths(text: str) -> list[str]:
    shortened = [one for one in PYTHON_FILE.findall(text) if not any(file.endswith(f"/{one}") for file in files())]
    named = [one for one in PATH.findall(text) if one not in MADE_ON_THE_WAY]
    return [one for one in named if not (HOME / one).exists()] + shortened


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_links(document: Path) -> list[str]:
    missing = []
    for name, anchor in LINK.findall(document.read_text()):
        target = (document.parent / name) if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{name}#{anchor}")
    return missing


def missing_modules(text: str) -> list[str]:
    paths = {one: HOME / one.replace(".", "/") for one in MODULE.findall(text)}
    return [
        one
        for one, path in paths.items()
        if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file()
    ]


def missing_names(text: str) -> list[str]:
    """Dotted names whose module is not there, or has no word of that name."""
    missing = []
    for dotted in set(DOTTED.findall(text)) - set(LOGGERS):
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            path = HOME.joinpath(*parts[:length])
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if file.is_file():
                break
        words = set(re.findall(r"\w+", file.read_text())) if file.is_file() else set()
        if not set(parts[length:]) <= words:
            missing.append(dotted)
    return missing


def missing_targets(text: str) -> list[str]:
    targets = re.findall(r"^([a-z][a-z-]*):", (HOME / "Makefile").read_text(), re.MULTILINE)
    return [one for one in MAKE.findall(text) if one not in targets]


def missing_commands(text: str) -> list[str]:
    missing = []
    for named in COMMAND.findall(text):
        group: Any = COMMANDS
        for word in named.split():
            if not hasattr(group, "commands"):
                break
            found = group.get_command(None, word)
            if found is None:
                missing.append(f"atelier {named.strip()}")
                break
            group = found
    return missing


def missing_settings(text: str) -> list[str]:
    """`section.field` where the section is one of the settings."""
    missing = []
    for dotted in SETTING.findall(text):
        model: Any = Settings
        for name in dotted.split("."):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                break
            if name not in model.model_fields:
                missing.append(dotted)
                break
            model = model.model_fields[name].annotation
    names = [dotted.split(".") for dotted in missing]
    return [".".join(name) for name in names if name[0] in Settings.model_fields and name[-1] not in FILE_TYPES]


@each
def test_files_and_folders_are_there(document: Path) -> None:
    assert missing_paths(document.read_text()) == []


@each
def test_links_and_anchors_are_there(document: Path) -> None:
    assert missing_links(document) == []


@each
def test_modules_and_names_are_there(document: Path) -> None:
    assert missing_modules(document.read_text()) + missing_names(document.read_text()) == []


@each
def test_commands_and_targets_are_there(document: Path) -> None:
    assert missing_targets(code(document)) + missing_commands(code(document)) == []


@each
def test_settings_are_there(document: Path) -> None:
    assert missing_settings(document.read_text()) == []


def test_what_is_not_there_is_found() -> None:
    assert missing_paths("`serve/no_such_file.py`, docs/NONE.md") == ["serve/no_such_file.py", "docs/NONE.md",
        "serve/no_such_file.py"]  # fmt: skip
    assert missing_paths("`no/such.py`, `jobs/none.py` and `serve/nothing/`") == ["serve/nothing/", "no/such.py",
        "jobs/none.py"]  # fmt: skip
    assert missing_modules("`python -m loadtests.none --x`, python -m loadtests.chaos") == ["loadtests.none"]
    assert sorted(missing_names("`serve.errors.NoSuchError`, `serve.none.x`, `serve.errors.NotFound`")) == [
        "serve.errors.NoSuchError", "serve.none.x"]  # fmt: skip
    assert missing_targets("`make nothing`") == ["nothing"]
    assert missing_commands("`atelier fly`, `atelier keys fly`, `atelier up`") == ["atelier fly", "atelier keys fly"]
    assert missing_settings("`http.none`, `http.port`, `other.none`") == ["http.none"]
