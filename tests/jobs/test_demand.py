"""How many workers the queue could keep busy (A-113): by lane, up to a bound, without lanes that pause."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from serve.jobs.demand import workers_wanted
from serve.jobs.states import COMPLETED, PENDING, PROCESSING
from serve.settings import JobsSettings, Settings
from serve.state import State
from serve.state.tables import jobs, lanes

pytestmark = pytest.mark.postgresql


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"jobs": JobsSettings(max_workers=5, slots={"illustrate": 4, "vectorize": 2})})
