"""Fixtures: no setting of whoever runs the tests counts, and none of these tests' is left behind."""

from __future__ import annotations

import pytest

from serve.settings import Settings, leaves


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for setting in leaves(Settings.model_construct()):
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("ATELIER_CONFIG", "")
    return monkeypatch
