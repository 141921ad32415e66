"""Writes the engines NAME_picture and NAME_text of a CLIP-class checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from build_engines.embed.checkpoint import Loaded, PictureTower, TextTower
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import Precision
from build_engines.upscale.engine import place, stage

MAX_BATCH = 16
_TEXTS = ("a red fox in a misty forest at dawn", "two", "an owl, watercolour!")


def write_engines(
    loaded: Loaded, name: str, facts: dict[str, Any], repository: Path, version: str, precision: Precision
) -> list[Path]:
    """Both folders, placed when both agree with torch. ``facts``: the command, for manifests. Raises ParityError."""
    side = loaded.pictures.side_px
    embedding = (Tensor("embedding", (loaded.width,)),)
    image = Contract(f"{name}_picture", (Tensor("image", (side, side, 3), "TYPE_UINT8"),), embedding, MAX_BATCH, ())
    text = Contract(f"{name}_text", (Tensor("ids", (loaded.tokens,), "TYPE_INT64"),), embedding, MAX_BATCH, ())
    stated = {
        "search": {
            "side_px": side, "shortest_px": loaded.pictures.shortest_px, "fit": loaded.pictures.fit,
            "resample": loaded.pictures.resample, "tokens": loaded.tokens, "pad_id": loaded.pad_id,
            "lowercase": loaded.kind == "siglip", "strips_punctuation": loaded.strips_punctuation,
            "logit_scale": loaded.logit_scale, "embedding": loaded.width,
        },
        "class": loaded.kind,
        **facts,
        "precision": precision,
    }  # fmt: skip
    ids = token_rows(loaded, _TEXTS)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, side, side, 3), np.uint8)
    staged = []
    for contract, tower, key, rows in (
        (image, PictureTower(loaded.model, loaded.pictures), "image", pixels),
        (text, TextTower(loaded.model), "ids", ids),
    ):
        inputs: dict[str, Arrays] = {"three": {key: rows}, "one": {key: rows[:1]}}
        staged.append(
            stage(
                contract, tower.eval(), inputs, ("three", "one"), stated, repository, version, precision=precision
            )
        )  # fmt: skip
    (staged[1] / "tokenizer.json").write_text(loaded.tokenizer.to_str(), encoding="utf-8")
    return [place(folder, repository / contract.name) for folder, contract in zip(staged, (image, text), strict=True)]


def token_rows(loaded: Loaded, texts: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(len(texts), tokens), as serving fills them."""
    tokenizer = loaded.tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = np.full((len(texts), loaded.tokens), loaded.pad_id, np.int64)
    for row, text in zip(rows, texts, strict=True):
        ids = tokenizer.encode(text).ids
        ids = ids if len(ids) <= loaded.tokens else [*ids[: loaded.tokens - 1], ids[-1]]
        row[: len(ids)] = ids
    return rows
