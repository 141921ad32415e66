"""docs/SECURITY.md names existing tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from forbidden_hosts import FORBIDDEN

HOME = Path(__file__).parents[2]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", (HOME / "docs" / "SECURITY.md").read_text())
ROWS = (HOME / "docs" / "SECURITY.md").read_text().partition("| shown by |")[2].splitlines()[2:]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_named_tests_exist(path: str, name: str) -> None:
    tree = ast.parse((HOME / "tests" / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in tree.body if isinstance(node, functions)}


def test_every_attack_row_names_a_test() -> None:
    rows = [row for row in ROWS if row.startswith("|")]
    assert len(rows) > 25
    assert [row for row in rows if "::test_" not in row.rpartition(" | ")[2]] == []


def test_spelling_count_is_correct() -> None:
    assert f"forbidden addresses in {len(FORBIDDEN)} spellings" in "\n".join(ROWS)
