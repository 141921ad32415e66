from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from built import Built, Illustrators


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Each checkpoint is built once."""
    made: dict[str, Built] = {}

    def get(name: str) -> Built:
        if name not in made:
            made[name] = Built(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture(scope="session")
def illustrators() -> Iterator[Illustrators]:
    opened = Illustrators()
    yield opened
    opened.close()
