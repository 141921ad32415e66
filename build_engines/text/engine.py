"""Writes a text engine: ONNX, configuration, parity, manifest with the matrix of the rules, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import Precision
from build_engines.text.heads import Heads, Quality, by_rules, fit, quality, rules_of
from build_engines.text.labelled import halves, read
from build_engines.text.vectors import Words
from build_engines.upscale.engine import place, stage
from serve.ensembles.prompts.text_engine import LOGITS, tokens_of

PAD, UNKNOWN = 0, 1
TOKENS = 64
SCALE = 4.0
"""Of a text's mean vector, which is short: the penalty of the heads is of their weights."""
MAX_BATCH = 16
_ROWS = 64


@dataclass(frozen=True)
class Encoder:
    """``network``: token ids (B, tokens) to vectors (B, width). ``written``: the same as it is stored. ``unknown``:
    tokens that are left out."""

    network: nn.Module
    written: nn.Module
    tokenizer: Tokenizer
    tokens: int
    pad: int
    unknown: int | None
    lowercase: bool

    def ids(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(len(texts), tokens), as serving fills them."""
        rows = np.full((len(texts), self.tokens), self.pad, np.int64)
        for row, text in zip(rows, texts, strict=True):
            found = tokens_of(self.tokenizer, text.lower() if self.lowercase else text, self.unknown, self.tokens)
            row[: len(found)] = found
        return rows

    @torch.no_grad()
    def vectors(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        ids = torch.from_numpy(self.ids(texts))
        parts = [self.network(part).float().numpy() for part in torch.split(ids, _ROWS)]
        return np.asarray(np.concatenate(parts), np.float32)


class Levels(nn.Module):
    """Token ids (B, T) to rows (B, T, width) of a table between -1 and 1 in 8 bits."""

    levels: torch.Tensor

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("levels", (127 * table).round().to(torch.int8))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.levels[ids].float() / 127


def _embedding(table: torch.Tensor) -> nn.Embedding:
    made: nn.Embedding = nn.Embedding.from_pretrained(table)  # type: ignore[no-untyped-call]
    return made


class MeanOfWords(nn.Module):
    """The mean of the vectors of the words, by their weights; zero without a word."""

    def __init__(self, words: Words, quantised: bool) -> None:
        super().__init__()
        table = torch.from_numpy(np.concatenate([np.zeros((2, words.vectors.shape[1]), np.float32), words.vectors]))
        weights = torch.from_numpy(np.concatenate([np.zeros(2, np.float32), words.weights]))[:, None]
        self.words = Levels(table) if quantised else _embedding(table)
        self.weights = Levels(weights) if quantised else _embedding(weights)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        weights = self.weights(ids)
        mean: torch.Tensor = (self.words(ids) * weights).sum(1) / (weights.sum(1) + 0.3)
        return SCALE * mean


class Headed(nn.Module):
    def __init__(self, encoder: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(heads.encoder.shape[0], LOGITS)
        with torch.no_grad():
            self.heads.weight.copy_(torch.from_numpy(heads.encoder.T.copy()))
            self.heads.bias.copy_(torch.from_numpy(heads.bias.copy()))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.heads(self.encoder(ids))
        return logits


def build(
    encoder: Encoder, name: str, facts: dict[str, Any], repository: Path, version: str, precision: Precision = "fp32"
) -> tuple[Path, Quality, Quality]:
    """The engine's folder, its quality on the held-out prompts, and that of the rules. Raises ParityError."""
    fitting, held_out = halves(read())
    heads, penalty = fit(encoder.vectors([one.prompt for one in fitting]), rules_of(fitting), fitting)
    found = quality(heads.judge(encoder.vectors([one.prompt for one in held_out]), rules_of(held_out)), held_out)
    rules = quality(by_rules(held_out), held_out)
    contract = Contract(
        name, (Tensor("ids", (encoder.tokens,), "TYPE_INT64"),), (Tensor("logits", (LOGITS,)),), MAX_BATCH, ()
    )
    stated = {
        "prompts": {
            "tokens": encoder.tokens, "pad_id": encoder.pad, "unknown_id": encoder.unknown,
            "lowercase": encoder.lowercase, "rules": [[round(float(v), 5) for v in row] for row in heads.rules],
        },
        **facts,
        "metrics": {"held_out": len(held_out), "fitted_on": len(fitting), "penalty": penalty, **found.rounded(),
                    "rules_alone": rules.rounded()},
    }  # fmt: skip
    ids = encoder.ids([one.prompt for one in held_out[:3]])
    inputs: dict[str, Arrays] = {"three": {"ids": ids}, "one": {"ids": ids[:1]}}
    staged = stage(
        contract, Headed(encoder.network, heads).eval(), inputs, ("three", "one"), stated, repository, version,
        written=Headed(encoder.written, heads).eval(), precision=precision,
    )  # fmt: skip
    (staged / "tokenizer.json").write_text(encoder.tokenizer.to_str(), encoding="utf-8")
    return place(staged, repository / name), found, rules
