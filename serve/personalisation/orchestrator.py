"""`ModelOrchestrator`'s parts (C-040): which models draw a prompt, all at once with a time limit, the best result.

Rules of C-041 give each kind of model a confidence; the user's taste orders the models of a kind. A choice of the user
always wins. Results are ranked by how well each fits the prompt by an image-text embedding, where the site has engines
of one, by what the user's feedback says of their models, and by how much of the colours that the prompt names they
show (C-045).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from serve.ensembles.prompts.analysis import Analysis
from serve.errors import AtelierError, DeadlineExceeded
from serve.personalisation.bandits import Arm, beta_of

DIFFUSION, STYLE_TRANSFER = "diffusion", "style-transfer"
T = TypeVar("T")
_FAR = 120.0
"""Distance of RGB colours from which on one is not the other."""


@dataclass(frozen=True)
class Selected:
    """``available``: whether this site can do it; ``expected``: the mean of the user's taste, from 0 to 1."""

    kind: str
    model: str
    confidence: float
    reason: str
    expected: float
    available: bool = True


@dataclass(frozen=True)
class Drawn(Generic[T]):
    model: str
    value: T | None
    error: AtelierError | None
    seconds: float


def kinds_of(analysis: Analysis) -> dict[str, tuple[float, str]]:
    """By kind of model its confidence and the reason, by the rules of C-041."""
    concepts = {one.name: one.confidence for one in analysis.concepts}
    styles = analysis.names("styles")
    if "portrait" in concepts and concepts["portrait"] >= concepts.get("abstract", 0.0):
        diffusion = (0.6 + 0.3 * concepts["portrait"], "portraits are drawn by diffusion")
    elif "abstract" in concepts:
        diffusion = (0.6 + 0.3 * concepts["abstract"], "abstract concepts are drawn by diffusion")
    else:
        diffusion = (0.6, "diffusion draws any prompt")
    transfer = (0.1, "the prompt names no artistic style")
    if styles:
        transfer = (min(0.9, 0.6 + 0.1 * len(styles)), f"it names the style {styles[0]}")
    return {DIFFUSION: diffusion, STYLE_TRANSFER: transfer}


def select_models(
    analysis: Analysis,
    models: Sequence[str],
    taste: Mapping[str, Arm],
    chosen: Sequence[str] = (),
    style: str | None = None,
) -> list[Selected]:
    """The models of this site and style transfer, most confident first. ``chosen`` by the user: these alone, in order.

    ``taste``: arms of the user by model, with the prior of everybody. ``style``: that of the site which the prompt
    names; without one there is nothing to transfer.
    """
    kinds = kinds_of(analysis)
    expected = {}
    for model in (*models, STYLE_TRANSFER):
        alpha, beta = beta_of(taste.get(model, Arm(model)))
        expected[model] = alpha / (alpha + beta)
    if chosen:
        return [
            Selected(
                STYLE_TRANSFER if model == STYLE_TRANSFER else DIFFUSION,
                model,
                1.0,
                "the user's choice",
                expected.get(model, 0.5),
            )
            for model in chosen
        ]
    confidence, reason = kinds[DIFFUSION]
    found = [
        Selected(DIFFUSION, model, confidence * (0.5 + 0.5 * expected[model]), reason, expected[model])
        for model in models
    ]
    confidence, reason = kinds[STYLE_TRANSFER]
    confidence *= 0.5 + 0.5 * expected[STYLE_TRANSFER]
    available = style is not None and bool(models)
    found.append(Selected(STYLE_TRANSFER, STYLE_TRANSFER, confidence, reason, expected[STYLE_TRANSFER], available))
    return sorted(found, key=lambda one: (-one.available, -one.confidence))


async def generate_with_models(
    models: Sequence[str], draw: Callable[[str], Awaitable[T]], timeout_s: float
) -> list[Drawn[T]]:
    """All at once. One that fails, or is not ready within ``timeout_s``, does not keep the others; its work ends."""

    async def one(model: str) -> Drawn[T]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                return Drawn(model, await draw(model), None, loop.time() - started)
        except AtelierError as error:
            return Drawn(model, None, error, loop.time() - started)
        except TimeoutError:
            late = DeadlineExceeded(f"{model} was not ready within {timeout_s:g} s")
            return Drawn(model, None, late, loop.time() - started)

    return list(await asyncio.gather(*map(one, models)))


def palette_agreement(pixels: NDArray[np.uint8], palette: Sequence[str]) -> float | None:
    """How much of ``palette`` (#rrggbb) a picture of shape (H, W, 3) shows: 0 to 1 for each colour by the twentieth of
    the pixels that is nearest to it, and their mean. None without colours."""
    if not palette or not pixels.size:
        return None
    flat = pixels.reshape(-1, 3).astype(np.float64)
    found = []
    for colour in palette:
        distances = np.linalg.norm(flat - np.array(list(bytes.fromhex(colour[1:])), np.float64), axis=1)
        near = np.partition(distances, len(distances) // 20)[: len(distances) // 20 + 1]
        found.append(max(0.0, 1.0 - float(near.mean()) / _FAR))
    return float(np.mean(found))


def rank_score(expected: float, agreement: float | None, fit: float | None = None) -> float:
    """From 0 to 1: the mean of taste, palette and fit, fit twice, of those that are known.

    ``fit``: how likely the picture is for the prompt by the embedding, relative to the best of the others.
    """
    known = [(1, expected)] + [(weight, value) for weight, value in ((1, agreement), (2, fit)) if value is not None]
    return sum(weight * value for weight, value in known) / sum(weight for weight, _ in known)
