"""What a request may make an engine compute: as much as the largest picture, no more."""

from __future__ import annotations

import numpy as np
import pytest

from serve.diffusion.family import parse
from serve.diffusion.tokens import MAX_CHUNKS
from serve.engines.adapter_files import IDS, SCALES
from serve.ensembles.illustrator.pipeline.bounds import check_engine_inputs
from serve.errors import InvalidRequest, TooLarge
from tests.ensembles.drawn_family import CHUNK, FAMILY

TOY = parse({"family": FAMILY})  # up to 512 px, 8 px per latent pixel


@pytest.mark.parametrize(
    ("engine", "name", "fits", "exceeds"),
    [
        ("toy_unet", "sample", (2, 3, 64, 64), (1, 3, 65, 8)),
        ("toy_unet", "encoder_hidden_states", (2, MAX_CHUNKS * CHUNK, 4), (1, MAX_CHUNKS * CHUNK + 1, 4)),
        ("toy_vae_decoder", "latents", (4, 3, 64, 64), (1, 3, 8, 65)),
        ("toy_vae_encoder", "image", (1, 512, 512, 3), (1, 8, 513, 3)),
    ],
)
def test_the_largest_picture_is_the_bound(
    engine: str, name: str, fits: tuple[int, ...], exceeds: tuple[int, ...]
) -> None:
    check_engine_inputs(TOY, engine, {name: np.empty(fits, np.uint8)})
    check_engine_inputs(TOY, "another", {name: np.empty(exceeds, np.uint8)})
    with pytest.raises(TooLarge) as raised:
        check_engine_inputs(TOY, engine, {name: np.empty(exceeds, np.uint8)})
    assert raised.value.field == name


@pytest.mark.parametrize("name", [IDS, SCALES])
def test_adapters_are_refused(name: str) -> None:
    check_engine_inputs(TOY, "toy_unet", {name: np.zeros((2, 12))})
    with pytest.raises(InvalidRequest) as raised:
        check_engine_inputs(TOY, "toy_unet", {name: np.ones((2, 12))})
    assert raised.value.field == name


def test_shapes_that_fit_nothing_are_left_to_the_engine() -> None:
    check_engine_inputs(TOY, "toy_unet", {"sample": np.empty(()), "other": np.empty((9999, 1))})
