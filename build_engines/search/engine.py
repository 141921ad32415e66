"""Writes the engines ``search_picture`` and ``search_text``: ONNX, configuration, parity, manifest, tokenizer."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor as Values
from torch import nn

from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import quantise
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.judge import EMBEDDING, PictureEncoder
from build_engines.mini.tokenizer import PAD, make_tokenizer
from build_engines.mini.training.judges import SIDE_PX, CaptionEncoder, CaptionJudge
from build_engines.mini.training.text import TOKENS
from build_engines.search.training import Report
from build_engines.upscale.engine import place, stage

MAX_BATCH = 16
_EMBEDDING = Tensor("embedding", (EMBEDDING,))

PICTURE = Contract(
    "search_picture", (Tensor("image", (SIDE_PX, SIDE_PX, 3), "TYPE_UINT8"),), (_EMBEDDING,), MAX_BATCH, ()
)
TEXT = Contract("search_text", (Tensor("ids", (TOKENS,), "TYPE_INT64"),), (_EMBEDDING,), MAX_BATCH, ())


class ServedPictures(nn.Module):
    """8-bit pictures (B, 64, 64, 3), on white, to unit vectors (B, 128)."""

    def __init__(self, encoder: PictureEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Values) -> Values:
        found: Values = self.encoder(image.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return found


class QuantisedWords(nn.Module):
    """Token ids (B, T) to embeddings (B, T, width) of a table in 8 bits, with a scale per word."""

    levels: Values
    scales: Values

    def __init__(self, table: Values) -> None:
        super().__init__()
        levels, scales = quantise(table.detach().numpy(), 0)
        self.register_buffer("levels", torch.from_numpy(levels))
        self.register_buffer("scales", torch.from_numpy(scales))

    def forward(self, ids: Values) -> Values:
        return self.levels[ids].float() * self.scales[ids]


def _stored(module: nn.Module) -> nn.Module:
    """``module`` as it is written: the table of words is most of the captions' encoder."""
    copied = copy.deepcopy(module)
    if isinstance(copied, CaptionEncoder):
        copied.words = QuantisedWords(copied.words.weight)  # type: ignore[arg-type]
    return copied.eval()


def examples(words: int) -> dict[str, dict[str, Arrays]]:
    """Inputs of both engines by the number of rows."""
    rng = np.random.default_rng(0)
    made: dict[str, dict[str, Arrays]] = {PICTURE.name: {}, TEXT.name: {}}
    for label, rows in (("three", 3), ("one", 1)):
        ids = rng.integers(0, words, (rows, TOKENS), np.int64)
        ids[0, TOKENS // 2 :] = PAD
        made[PICTURE.name][label] = {"image": rng.integers(0, 256, (rows, SIDE_PX, SIDE_PX, 3), np.uint8)}
        made[TEXT.name][label] = {"ids": ids}
    return made


def write_engines(
    network: CaptionJudge, vocabulary: Vocabulary, report: Report, facts: dict[str, Any], repository: Path, version: str
) -> list[Path]:
    """Both folders. ``facts``: the command and the data, for the manifests. Raises ParityError."""
    pictures: PictureEncoder = network.pictures
    captions: CaptionEncoder = network.captions
    tokenizer = make_tokenizer(vocabulary.words)
    inputs = examples(tokenizer.get_vocab_size())
    stated = {
        "search": {"side_px": SIDE_PX, "tokens": TOKENS, "embedding": EMBEDDING},
        **facts,
        "metrics": asdict(report),
        "precision": "int8",
    }
    folders = []
    for contract, module in ((PICTURE, ServedPictures(pictures)), (TEXT, captions)):
        served = module.eval()
        staged = stage(
            contract, served, inputs[contract.name], ("three", "one"), stated, repository, version,
            written=_stored(served), precision="int8",
        )  # fmt: skip
        if contract is TEXT:
            (staged / "tokenizer.json").write_text(tokenizer.to_str())
        folders.append(place(staged, repository / contract.name))
    return folders


def data_facts(folder: Path) -> list[dict[str, str]]:
    """What the pictures and words in ``folder`` were made from: package, version, licence."""
    sources = json.loads((folder / "origin.json").read_text())["data"]["sources"]
    return [{name: one[name] for name in ("package", "version", "license")} for one in sources]
