"""What documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve.settings import HOME

DOCUMENTS = sorted([HOME / "README.md", *(HOME / "docs").glob("*.md")])
NAMED = re.compile(
    r"(?<![\w/.-])((?:build_engines|deployments|docs|loadtests|serve|tests)/[\w./-]+\.(?:Dockerfile|json|md|proto|py|ya?ml))\b"
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_it_names_are_there(path: Path) -> None:
    missing = [one for one in NAMED.findall(path.read_text()) if not (HOME / one).exists()]
    assert missing == []


def test_there_is_something_to_find() -> None:
    assert NAMED.findall("`serve/no_such_file.py`, docs/NONE.md") == ["serve/no_such_file.py", "docs/NONE.md"]
    assert sum(len(NAMED.findall(path.read_text())) for path in DOCUMENTS) > 50
