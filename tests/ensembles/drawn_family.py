"""A family whose engines are functions: a toy tokenizer, and a denoiser that depends on picture, prompt and time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.fakes import FakeEngines

WORDS = ["<bos>", "<eos>", "<pad>", "<unk>", "red", "green", "apple", "pear", "flat", ","]
CHUNK, WIDTH, CHANNELS = 8, 4, 3
PARTS = ("unet", "vae_decoder", "vae_encoder")

FAMILY: dict[str, Any] = {
    "name": "toy",
    "class": "stable-diffusion",
    "source": "here",
    "revision": None,
    "prediction_type": "epsilon",
    "scheduler": {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    },
    "latents": {"channels": CHANNELS, "downsample": 8},
    "text": [
        {
            "engine": "toy_text_encoder",
            "max_tokens": CHUNK,
            "bos": 0,
            "eos": 1,
            "pad": 2,
            "width": WIDTH,
            "pooled_width": None,
        }
    ],
    "defaults": {"size": [64, 64], "num_inference_steps": 6, "guidance_scale": 3.0, "sampler": "ddim"},
    "sizes": {"multiple_of": 8, "min_px": 32, "max_px": 512},
    "few_step": False,
}


def write_family(repository: Path, family: Mapping[str, Any] = FAMILY) -> Path:
    """The files that serving reads, without those of the engines."""
    name = family["name"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    for encoder in family["text"]:
        folder = repository / encoder["engine"]
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"))
    for engine in (*(e["engine"] for e in family["text"]), *(f"{name}_{part}" for part in PARTS)):
        folder = repository / engine
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {"name": engine, "version": "7", "created": "2026-11-21T12:00:00+00:00"}
        if engine.endswith("_unet"):
            manifest["family"] = dict(family)
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return repository


def encode(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    ids = inputs["input_ids"].astype(np.float32)
    places = np.arange(1, WIDTH + 1, dtype=np.float32)
    return {"prompt_embeds": np.sin(ids[..., None] * places)}


def denoise(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Row by row like an engine: each row from its own sample, timestep and prompt."""
    sample, prompt = inputs["sample"], inputs["encoder_hidden_states"].mean(axis=(1, 2))
    time = inputs["timestep"][:, 0] / 1000
    noise = np.tanh(sample * 0.8 + (prompt + time)[:, None, None, None]).astype(np.float32)
    if sample.shape[1] == CHANNELS:
        return {"noise_pred": noise}
    return {"noise_pred": noise[:, :CHANNELS] + 0.1 * noise[:, CHANNELS : CHANNELS + 1] + 0.2 * noise[:, -CHANNELS:]}


def decode(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    latents = np.moveaxis(inputs["latents"], 1, -1)
    grey = np.clip(np.round((np.tanh(latents) + 1) * 127.5), 0, 255).astype(np.uint8)
    return {"image": grey.repeat(8, axis=1).repeat(8, axis=2)}


def encode_picture(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `decode` for pictures of blocks, with a little deviation."""
    pixels = inputs["image"].astype(np.float32)
    batch, height, width, channels = pixels.shape
    blocks = pixels.reshape(batch, height // 8, 8, width // 8, 8, channels).mean(axis=(2, 4))
    mean = np.arctanh(np.clip(blocks / 127.5 - 1, -0.99, 0.99)).astype(np.float32)
    return {"mean": np.moveaxis(mean, -1, 1), "std": np.full_like(np.moveaxis(mean, -1, 1), 0.01)}


def engines() -> FakeEngines:
    return FakeEngines(
        {
            "toy_text_encoder": encode,
            "toy_unet": denoise,
            "toy_vae_decoder": decode,
            "toy_vae_encoder": encode_picture,
        }
    )
