"""Responses to all requests of `golden_requests` match the recorded ones: status, media type, headers, body; code
and field of errors. After an intended change of the API, record again and review the difference: `PYTHONPATH=.:tests
python tests/api/golden_answers.py && git diff tests/api/golden`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden_answers import GOLDEN, answers_of, golden_document, openapi_digest
from golden_requests import VOCABULARIES


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def differences(name: str, answers: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(recorded, actual) by request."""
    expected = recorded(name)
    assert answers.keys() == expected.keys()
    return {request: (expected[request], one) for request, one in answers.items() if expected[request] != one}


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
async def test_responses_match_the_recorded_ones(vocabulary: str, tmp_path: Path) -> None:
    answers = json.loads(json.dumps(await answers_of(vocabulary, tmp_path)))
    assert differences(vocabulary, answers) == {}


def test_operations_match_the_recorded_ones() -> None:
    assert differences("openapi", json.loads(json.dumps(openapi_digest(golden_document())))) == {}
