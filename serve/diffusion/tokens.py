"""A prompt as chunks of weighted tokens, and the weights on what a text encoder made of them.

A text encoder reads ``max_tokens`` tokens. A longer prompt becomes several chunks, which are encoded on their own and
put behind one another: the UNet attends to all of them. Nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from serve.diffusion.family import TextEncoder
from serve.diffusion.prompt import Section, parse
from serve.errors import InvalidRequest

Embeds = npt.NDArray[np.float32]

MAX_CHUNKS = 8
"""Maximum chunks of a prompt: 600 tokens of a CLIP encoder. Longer prompts are refused."""
_EXPLAINED = 1.5
"""Maximum factor between the mean of weighted embeddings and the unweighted mean."""


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """``ids``: shape (chunks, max_tokens), int32, with bos, eos and padding. ``weights``: the same shape, float32.

    ``used`` counts the prompt's own tokens.
    """

    ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    used: int


@dataclass(frozen=True, eq=False)
class PromptTokenizer:
    """The tokenizer of one text encoder."""

    tokenizer: Tokenizer
    encoder: TextEncoder

    @classmethod
    def load(cls, path: Path, encoder: TextEncoder) -> Self:
        """From a ``tokenizer.json``. Raises ``InvalidRequest`` if it lacks the encoder's special tokens."""
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        for name in ("bos", "eos", "pad"):
            if tokenizer.id_to_token(getattr(encoder, name)) is None:
                raise InvalidRequest(f"{path.name} has no token {getattr(encoder, name)}", f"{encoder.engine}.{name}")
        return cls(tokenizer, encoder)

    def encode(self, prompt: str, field: str = "prompt") -> PromptTokens:
        """``prompt`` in as many chunks as it needs, at least one.

        Raises ``InvalidRequest`` naming ``field`` when those are more than ``MAX_CHUNKS``, or as `prompt.parse` does.
        """
        room = self.encoder.max_tokens - 2
        content: list[tuple[list[int], list[float]]] = []
        used = 0
        for section in parse(prompt, field):
            ids, weights = self._section(section)
            used += len(ids)
            content += [(ids[i : i + room], weights[i : i + room]) for i in range(0, max(1, len(ids)), room)]
        if len(content) > MAX_CHUNKS:
            most = f"at most {MAX_CHUNKS} chunks of {room} tokens"
            raise InvalidRequest(f"must take {most}; it takes {len(content)} ({used} tokens): shorten it", field)
        chunks = [self._chunk(*each) for each in content]
        return PromptTokens(np.stack([ids for ids, _ in chunks]), np.stack([weights for _, weights in chunks]), used)

    def _section(self, section: Section) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        for piece in section:
            found = self.tokenizer.encode(piece.text, add_special_tokens=False).ids
            ids += found
            weights += [piece.weight] * len(found)
        return ids, weights

    def _chunk(self, ids: Sequence[int], weights: Sequence[float]) -> tuple[npt.NDArray[np.int32], Embeds]:
        encoder, n = self.encoder, len(ids)
        row = np.full(encoder.max_tokens, encoder.pad, np.int32)
        row[0], row[1 : n + 1], row[n + 1] = encoder.bos, ids, encoder.eos
        weighing = np.ones(encoder.max_tokens, np.float32)
        weighing[1 : n + 1] = weights
        return row, weighing

    def padded(self, tokens: PromptTokens, chunks: int) -> PromptTokens:
        """``tokens`` padded with empty chunks to ``chunks``."""
        missing = chunks - len(tokens.ids)
        ids, weights = self._chunk([], [])
        return PromptTokens(
            np.concatenate([tokens.ids, np.tile(ids, (missing, 1))]),
            np.concatenate([tokens.weights, np.tile(weights, (missing, 1))]),
            tokens.used,
        )


def encode_all(tokenizers: Sequence[PromptTokenizer], prompts: Mapping[str, str]) -> dict[str, list[PromptTokens]]:
    """Every prompt (by field, such as ``prompt`` and ``negative_prompt``) for every encoder, all in as many chunks.

    Raises ``InvalidRequest`` naming the field.
    """
    encoded = {field: [t.encode(prompt, field) for t in tokenizers] for field, prompt in prompts.items()}
    chunks = max(len(tokens.ids) for each in encoded.values() for tokens in each)
    return {
        field: [t.padded(tokens, chunks) for t, tokens in zip(tokenizers, each, strict=True)]
        for field, each in encoded.items()
    }


def joined(embeds: Embeds, weights: npt.NDArray[np.float32]) -> Embeds:
    """Chunks as the UNet takes them: (chunks, T, D) and (chunks, T) -> (chunks * T, D), weighted chunk by chunk.

    A pooled embedding has one row a picture: that of the first chunk, unweighted, as in AUTOMATIC1111's web UI.
    """
    weighted = [weigh(chunk, row) for chunk, row in zip(embeds, weights, strict=True)]
    return np.concatenate(weighted)


def weigh(embeds: Embeds, weights: npt.NDArray[np.float32]) -> Embeds:
    """``embeds`` (T, D) of one chunk, each token multiplied by its weight (T,), and the chunk's mean restored.

    As AUTOMATIC1111's web UI does it (modules/sd_emphasis.py, "Original"). The mean is left where it is when the
    weights do not explain its change: then it is a sum of values that cancel, and a ratio of such could be any number.
    """
    if (weights == 1.0).all():
        return embeds
    weighted: Embeds = embeds * weights[:, None]
    before, after = float(embeds.mean(dtype=np.float64)), float(weighted.mean(dtype=np.float64))
    ratio = before / after if after else 0.0
    explained = 1.0 / _EXPLAINED <= ratio * float(weights.mean()) <= _EXPLAINED
    return weighted * ratio if explained else weighted
