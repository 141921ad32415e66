"""Fixtures: the environment's settings are removed for each test, and restored after it."""

from __future__ import annotations

import pytest

from serve.settings import Settings, leaves


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for setting in leaves(Settings.model_construct()):
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("ATELIER_CONFIG", "")
    return monkeypatch
