"""Beam search over the next-token logits of a text decoder; one beam is greedy decoding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = tuple[int, ...]
NextLogits = Callable[[npt.NDArray[np.int64]], Awaitable[npt.NDArray[np.float32]]]
"""From token ids (rows, length) to logits (rows, vocabulary)."""


@dataclass(frozen=True)
class Decoded:
    """``tokens`` without the beginning and without the end token. ``log_probability``: of them and of the end, per
    token."""

    tokens: Tokens
    log_probability: float


async def beam_search(
    next_logits: NextLogits, beginning: Sequence[int], eos: int, max_tokens: int, beams: int = 1
) -> list[Decoded]:
    """Up to ``beams`` texts that continue ``beginning``, the likeliest per token first.

    ``max_tokens`` includes the beginning. It ends when ``beams`` texts are complete and no open one can become
    likelier by staying as it is, as `transformers` ends with ``early_stopping=False``.
    """
    start = len(beginning)
    open_beams: list[tuple[Tokens, float]] = [(tuple(beginning), 0.0)]
    finished: list[Decoded] = []
    for length in range(start, max_tokens):
        ids = np.asarray([tokens for tokens, _ in open_beams], np.int64)
        logits = np.asarray(await next_logits(ids), np.float64)
        scores = log_softmax(logits) + np.asarray([score for _, score in open_beams])[:, None]
        best = np.argsort(-scores, axis=None, kind="stable")[: 2 * beams]
        following: list[tuple[Tokens, float]] = []
        for rank, flat in enumerate(best):
            row, token = divmod(int(flat), scores.shape[1])
            score = float(scores[row, token])
            if token == eos:
                if rank < beams:
                    tokens = open_beams[row][0][start:]
                    finished.append(Decoded(tokens, score / (length - start + 1)))
            elif len(following) < beams:
                following.append(((*open_beams[row][0], token), score))
        finished = _best(finished, beams)
        open_beams = following
        if len(finished) == beams and open_beams[0][1] / (length - start + 1) <= finished[-1].log_probability:
            return finished
    cut = [Decoded(tokens[start:], score / max(1, max_tokens - start)) for tokens, score in open_beams]
    return _best([*finished, *cut], beams)


def log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)


def _best(found: Sequence[Decoded], count: int) -> list[Decoded]:
    return sorted(found, key=lambda one: -one.log_probability)[:count]
