"""Writes the engines NAME_picture and NAME_decoder of a BLIP-class checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from build_engines.captions.checkpoint import LoadedCaptioner, NextToken, PictureTower
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import Precision
from build_engines.upscale.engine import place, stage

MAX_BATCH = 16
MAX_TOKENS = 40
"""Longest text, its beginning included."""


def write_engines(
    loaded: LoadedCaptioner, name: str, facts: dict[str, Any], repository: Path, version: str, precision: Precision
) -> list[Path]:
    """Both folders, placed when both agree with torch. ``facts``: the command, for manifests. Raises ParityError."""
    side = loaded.pictures.side_px
    states = Tensor("states", (loaded.regions, loaded.width))
    picture = Contract(
        f"{name}_picture", (Tensor("image", (side, side, 3), "TYPE_UINT8"),), (states,), MAX_BATCH, (), threads=0
    )
    decoder = Contract(
        f"{name}_decoder", (Tensor("ids", (-1,), "TYPE_INT64", ("length",)), states),
        (Tensor("logits", (loaded.vocabulary,)),), MAX_BATCH, (), threads=0, warmup={"length": 1},
    )  # fmt: skip
    stated = {
        "caption": {
            "side_px": side, "shortest_px": loaded.pictures.shortest_px, "fit": loaded.pictures.fit,
            "resample": loaded.pictures.resample, "bos": loaded.bos, "eos": loaded.eos,
            "max_tokens": min(MAX_TOKENS, loaded.positions), "decoder": decoder.name,
        },
        "class": "blip",
        **facts,
        "precision": precision,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, side, side, 3), np.uint8)
    pictures: dict[str, Arrays] = {"two": {"image": pixels}, "one": {"image": pixels[:1]}}
    texts = {
        label: _texts(loaded, rng, *shape) for label, shape in (("two", (2, 5)), ("long", (3, 17)), ("one", (1, 1)))
    }
    staged = [
        stage(
            picture, PictureTower(loaded.model.vision_model, loaded.pictures).eval(), pictures, ("two", "one"), stated,
            repository, version, precision=precision,
        ),
        stage(
            decoder, NextToken(loaded.model.text_decoder).eval(), texts, ("two", "long"),
            {**stated, "caption": {"part_of": picture.name}}, repository, version, precision=precision,
        ),
    ]  # fmt: skip
    (staged[0] / "tokenizer.json").write_text(loaded.tokenizer.to_str(), encoding="utf-8")
    names = (picture.name, decoder.name)
    return [place(folder, repository / engine) for folder, engine in zip(staged, names, strict=True)]


def _texts(loaded: LoadedCaptioner, rng: np.random.Generator, rows: int, length: int) -> Arrays:
    ids = rng.integers(0, loaded.vocabulary, (rows, length), np.int64)
    ids[:, 0] = loaded.bos
    return {"ids": ids, "states": rng.standard_normal((rows, loaded.regions, loaded.width), np.float32)}
