"""What a load in steps is: how many callers for how long, and how much each of their pictures is."""

from __future__ import annotations

from typing import Any

STEPS = 10
"""Of denoising, of each picture."""


def drawing(seed: int) -> dict[str, Any]:
    """The body of ``POST /v1/images/generations`` for one."""
    return {"prompt": "red apple", "seed": seed, "size": "64x64", "steps": STEPS, "guidance_scale": 1.0}


def steps_of(text: str) -> list[tuple[int, float]]:
    """(callers, seconds) of ``1x30,12x90``."""
    return [(int(callers), float(seconds)) for callers, _, seconds in (step.partition("x") for step in text.split(","))]
