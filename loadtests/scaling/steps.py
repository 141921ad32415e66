"""What a load in steps is: how many callers for how long, and how much each of their pictures is."""

from __future__ import annotations

STEPS = 10
"""Of denoising, of each picture."""


def steps_of(text: str) -> list[tuple[int, float]]:
    """(callers, seconds) of ``1x30,12x90``."""
    return [(int(callers), float(seconds)) for callers, _, seconds in (step.partition("x") for step in text.split(","))]
