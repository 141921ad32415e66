"""The contracts of a family's engines: tensors, batch sizes, and the lengths that their free axes may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from build_engines.export.contracts import Contract, Tensor
from build_engines.illustrate.checkpoint import Checkpoint
from build_engines.illustrate.sizes import Sizes
from serve.diffusion.tokens import MAX_CHUNKS

PartName = Literal["text_encoder", "text_encoder_2", "unet", "vae_decoder", "vae_encoder", "judge", "image_encoder"]
Lengths = Mapping[str, int]

TIME_IDS = 6

LARGEST_UNET_BATCH = 16
"""Rows: of families whose pictures have 512 pixels on a side or fewer. Half as many of others."""

_LATENT_AXES = ("height", "width")
_PIXEL_AXES = ("height_px", "width_px")


@dataclass(frozen=True)
class Engine:
    """One engine to build, and ``Lengths`` of its free axes: the smallest, an odd oblong, the default, the largest."""

    part: PartName
    contract: Contract
    smallest: Lengths
    odd: Lengths
    typical: Lengths
    largest: Lengths

    @property
    def component(self) -> str:
        """The checkpoint's folder that the engine is made of."""
        return "vae" if self.part.startswith("vae") else self.part


def engines(
    name: str,
    checkpoint: Checkpoint,
    tokens: int,
    sizes: Sizes,
    max_batch: int | None = None,
    takes_adapters: bool = False,
) -> list[Engine]:
    """The engines of the family ``name``. ``tokens`` is the length of a chunk of the prompt.

    ``max_batch`` is the largest number of rows of the UNet, and bounds that of the VAE. ``takes_adapters``: text
    encoders and UNet.
    """
    texts = [_text_encoder(name, checkpoint, part, tokens) for part in checkpoint.text_encoders]
    judges = [_judge(name, checkpoint, tokens)] if checkpoint.has_judge else []
    unet = _unet(name, checkpoint, tokens, sizes, max_batch)
    if takes_adapters:
        texts, unet = [_with_adapters(text) for text in texts], _with_adapters(unet)
    return [*texts, unet, *_vae(name, checkpoint, sizes, max_batch), *judges]


def _with_adapters(engine: Engine) -> Engine:
    return replace(engine, contract=replace(engine.contract, adapters=engine.part))


def image_encoder(name: str, side_px: int, tokens: int, width: int) -> Engine:
    """References to image tokens, and to those of the unconditional prediction."""
    outputs = tuple(Tensor(output, (tokens, width)) for output in ("image_tokens", "no_image_tokens"))
    inputs = (Tensor("image", (side_px, side_px, 3), "TYPE_UINT8"),)
    return Engine("image_encoder", Contract(f"{name}_image_encoder", inputs, outputs, 8, (), threads=0), {}, {}, {}, {})


def _judge(name: str, checkpoint: Checkpoint, tokens: int) -> Engine:
    """Opaque pictures of one size and a chunk of the prompt to how well they fit, in [0, 1]."""
    side = int(checkpoint.config("judge")["side_px"])
    inputs = (Tensor("image", (side, side, 3), "TYPE_UINT8"), Tensor("input_ids", (tokens,), "TYPE_INT32"))
    contract = Contract(f"{name}_judge", inputs, (Tensor("fit", (1,)),), 16, (), threads=0)
    return Engine("judge", contract, {}, {}, {}, {})


def _text_encoder(name: str, checkpoint: Checkpoint, part: str, tokens: int) -> Engine:
    config = checkpoint.config(part)
    outputs = [Tensor("prompt_embeds", (tokens, int(config["hidden_size"])))]
    if part == "text_encoder_2":
        outputs.append(Tensor("pooled_prompt_embeds", (int(config["projection_dim"]),)))
    inputs = (Tensor("input_ids", (tokens,), "TYPE_INT32"),)
    contract = Contract(f"{name}_{part}", inputs, tuple(outputs), 16, (), threads=0)
    return Engine("text_encoder_2" if part == "text_encoder_2" else "text_encoder", contract, {}, {}, {}, {})


def _unet(name: str, checkpoint: Checkpoint, tokens: int, sizes: Sizes, max_batch: int | None) -> Engine:
    """``timestep`` is one per sample of the batch, so that steps of different requests share a run."""
    channels = checkpoint.latent_channels
    latents = (channels, -1, -1)
    sample = (2 * channels + 1, -1, -1) if checkpoint.inpainting else latents
    width = int(checkpoint.config("unet")["cross_attention_dim"])
    inputs = [
        Tensor("sample", sample, axes=_LATENT_AXES),
        Tensor("timestep", (1,)),
        Tensor("encoder_hidden_states", (-1, width), axes=("tokens",)),
    ]
    if checkpoint.family_class == "stable-diffusion-xl":
        pooled = int(checkpoint.config("text_encoder_2")["projection_dim"])
        inputs += [Tensor("text_embeds", (pooled,)), Tensor("time_ids", (TIME_IDS,))]
    outputs = (Tensor("noise_pred", latents, axes=_LATENT_AXES),)
    chunks = (1, 2, 1, MAX_CHUNKS)
    lengths = [
        _lengths(_LATENT_AXES, side, sizes.downsample) | {"tokens": n * tokens}
        for side, n in zip(_sides(sizes), chunks, strict=True)
    ]
    batch = max_batch or (LARGEST_UNET_BATCH if sizes.default_px <= 512 else LARGEST_UNET_BATCH // 2)
    contract = Contract(f"{name}_unet", tuple(inputs), outputs, batch, (), threads=0, warmup=lengths[0])
    return Engine("unet", contract, *lengths)


def _vae(name: str, checkpoint: Checkpoint, sizes: Sizes, max_batch: int | None) -> list[Engine]:
    """Latents are in the UNet's space. Memory grows with the square of the side: larger pictures, smaller batches.

    A decoder of RGBA answers with straight alpha; every encoder takes RGB.
    """
    channels = (checkpoint.latent_channels, -1, -1)
    image = Tensor("image", (-1, -1, 3), "TYPE_UINT8", _PIXEL_AXES)
    decoded = Tensor("image", (-1, -1, checkpoint.picture_channels), "TYPE_UINT8", _PIXEL_AXES)
    latents = Tensor("latents", channels, axes=_LATENT_AXES)
    posterior = tuple(Tensor(n, channels, axes=_LATENT_AXES) for n in ("mean", "std"))
    batch = max(1, min(16, max_batch or 16, 4 * 512**2 // sizes.default_px**2))
    lengths = [_lengths(_LATENT_AXES, side, sizes.downsample) for side in _sides(sizes)]
    decoder = Contract(f"{name}_vae_decoder", (latents,), (decoded,), batch, (), threads=0, warmup=lengths[0])
    pixels = [_lengths(_PIXEL_AXES, side, 1) for side in _sides(sizes)]
    encoder = Contract(f"{name}_vae_encoder", (image,), posterior, batch, (), threads=0, warmup=pixels[0])
    return [Engine("vae_decoder", decoder, *lengths), Engine("vae_encoder", encoder, *pixels)]


def _sides(sizes: Sizes) -> list[tuple[int, int]]:
    """Height and width in px: the smallest, an odd oblong, the default, the largest."""
    small, step = sizes.min_px, sizes.multiple_of
    return [
        (small, small),
        (small + step, small + 3 * step),
        (sizes.default[1], sizes.default[0]),
        (sizes.max_px, sizes.max_px),
    ]


def _lengths(axes: tuple[str, str], side: tuple[int, int], px: int) -> dict[str, int]:
    return {axis: length // px for axis, length in zip(axes, side, strict=True)}
