"""Validation of single values of a request."""

from __future__ import annotations

import pytest

from serve.api.http.models import Number, RequestModel, validate
from serve.errors import InvalidRequest


class Scale(RequestModel):
    guidance_scale: Number


@pytest.mark.parametrize("value", ["1" * 1_000_000, "1" * 60_000 + "x", "." * 100_000, "1." + "0" * 100])
def test_long_number_is_refused_quickly(value: str) -> None:
    """A body may contain megabytes of digits; one regular expression checks them before every endpoint."""
    with pytest.raises(InvalidRequest, match="must be a finite number"):
        validate(Scale, {"guidance_scale": value})


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("+7.", 7), (".5", 0.5), ("-1.5e3", -1500), ("2E-1", 0.2)])
def test_plain_numbers_are_parsed(text: str, value: float) -> None:
    assert validate(Scale, {"guidance_scale": text}).guidance_scale == value
