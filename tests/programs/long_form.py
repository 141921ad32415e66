"""Some tests have two lengths: a short one for `make test`, and a long one for `make attack` and `make chaos`, which
set ``LONG_FORM``. Both assert the same."""

from __future__ import annotations

import os


def length(short: int, long: int) -> int:
    return long if os.environ.get("LONG_FORM") else short
