"""Prompt templates of the art director, files in ``deployments/director`` (C-077), and the glossary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from serve.ensembles.prompts.vocabulary import read_table
from serve.errors import InvalidRequest
from serve.settings.section import project_path

FOLDER = project_path(Path("deployments/director"))
_PLACE = re.compile(r"\{(original_prompt|feedback|analysis|concept|conversation)\}")
_MARKS = re.compile(r"[<>]{2,}")


@cache
def template(name: str) -> str:
    """Raises InvalidRequest for a file that cannot be read."""
    try:
        return (FOLDER / f"{name}.txt").read_text()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the template {name}.txt cannot be read ({type(error).__name__})", "director") from None


def unmarked(text: str) -> str:
    """``text`` without what could close the quotation marks ``<<<`` and ``>>>`` around it, also after a removal."""
    return _MARKS.sub("", text)


def filled(name: str, **values: str) -> str:
    """The template with ``values``, which cannot close the quotation marks ``<<<`` and ``>>>`` around them, nor name a
    place themselves."""
    safe = {key: unmarked(value) for key, value in values.items()}
    return _PLACE.sub(lambda found: safe.get(found[1], ""), template(name))


@cache
def glossary() -> Mapping[str, Mapping[str, str]]:
    table: Mapping[str, Mapping[str, str]] = read_table(FOLDER / "glossary.toml")
    return table
