"""Fixtures of the rollout tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_versions import Tracing
from versioned import write_all

from serve.releases.rollouts import version_selector
from serve.settings import Settings


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_all(tmp_path / "repository")


@pytest.fixture
def repository_settings(settings: Settings, repository: Path) -> Settings:
    """The settings with the repository of the one engine."""
    own = settings.vectorizer.model_copy(update={"model_repository": repository})
    return settings.model_copy(update={"vectorizer": own})


@pytest.fixture
def tracing() -> Tracing:
    return Tracing()


@pytest.fixture
def seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version selectors read every decision at once."""
    monkeypatch.setattr(version_selector, "CACHE_S", 0.0)
