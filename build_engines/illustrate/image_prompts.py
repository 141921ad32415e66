"""IP-Adapters: the image encoder with its projection as an engine, and the attention of a UNet to image tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from build_engines.illustrate.refusal import Refused

READ_AS_PLAIN, READ_HIDDEN = ("ImageProjection",), ("IPAdapterPlusImageProjection", "IPAdapterFullImageProjection")
"""Projections of the pooled embedding, and of the hidden states before the last layer."""


class ImagePromptAttention(nn.Module):
    """An attention processor that adds attention to the tokens of references, each with its row's scale for this block
    and its mask over the positions.

    As diffusers' ``IPAdapterAttnProcessor2_0``; without ``read``, which gives ``image_tokens`` (B, S, T, D),
    ``image_scales`` (B, S, blocks) and ``image_mask_LEVEL`` (B, S, positions), or ones of (1, 1, 1), plain attention.
    ``level``: how often the positions are halved on each side.
    """

    def __init__(self, index: int, key: nn.Linear, value: nn.Linear, level: int = 0) -> None:
        super().__init__()
        self.index, self.key, self.value, self.level = index, key, value, level
        self.read: Callable[[str], torch.Tensor] | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            _heads(part, attn.heads) for part in (attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states))
        )
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        if self.read is not None:
            mask = self.read(f"image_mask_{self.level}")
            made = made + self._image(query, self.read("image_tokens"), self.read("image_scales"), mask)
        made = made.transpose(1, 2).flatten(2)
        made = attn.to_out[1](attn.to_out[0](made))
        if attn.residual_connection:
            made = made + hidden_states
        answer: torch.Tensor = made / attn.rescale_output_factor
        return answer

    def _image(
        self, query: torch.Tensor, tokens: torch.Tensor, scales: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        rows, references, length, heads = tokens.shape[0], tokens.shape[1], tokens.shape[2], query.shape[1]
        key, value = (
            part.reshape(rows, references, length, heads, -1).transpose(2, 3)
            for part in (self.key(tokens), self.value(tokens))
        )
        weights = (query[:, None] @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        found = (weights @ value) * scales[:, :, self.index, None, None, None] * mask[:, :, None, :, None]
        read: torch.Tensor = found.sum(1)
        return read


def level_of(block: str, blocks: int) -> int:
    """How often latents are halved before the attention layer ``block`` of a UNet with so many down blocks."""
    side, number = block.split(".")[:2]
    if side == "mid_block":
        return blocks - 1
    return int(number) if side == "down_blocks" else blocks - 1 - int(number)


def _heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    return states.reshape(states.shape[0], states.shape[1], heads, -1).transpose(1, 2)


class ImageEncoder(nn.Module):
    """``image`` (B, side, side, 3) of bytes to ``image_tokens`` (B, T, D), and ``no_image_tokens`` of the same shape,
    those of the unconditional prediction."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, encoder: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        self.hidden = type(projection).__name__ in READ_HIDDEN
        # CLIP's, which every CLIPImageProcessor of an IP-Adapter has.
        mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        if self.hidden:
            states = [self.encoder(one, output_hidden_states=True).hidden_states[-2] for one in (pixels, pixels * 0)]
        else:
            embeds = self.encoder(pixels).image_embeds
            states = [embeds, embeds * 0]
        tokens, none = (self.projection(one) for one in states)
        return tokens, none


@dataclass(frozen=True)
class LoadedImagePrompt:
    """``encoder``: the engine's network. ``tokens`` of ``width`` a reference."""

    encoder: ImageEncoder
    side_px: int
    tokens: int
    width: int
    blocks: tuple[str, ...]
    levels: tuple[int, ...]


def _load_encoder(folder: Path) -> Any:
    """CLIP's, or of the starter family an autoencoder whose latents are read."""
    if json.loads((folder / "config.json").read_text()).get("_class_name") == "AutoencoderTiny":
        from build_engines.mini.adapters import features

        return features.load(folder)
    from transformers import CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32)


def load_image_prompt(unet: Any, weights: Path, encoder_folder: Path) -> LoadedImagePrompt:
    """Loads an IP-Adapter into ``unet``, which stays the same without image tokens. Raises Refused."""
    from safetensors import safe_open

    state: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    try:
        with safe_open(str(weights), framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  # no iterable
                part, _, name = key.partition(".")
                state[part][name] = file.get_tensor(key).float()
        unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
        encoder = _load_encoder(encoder_folder)
    except Exception as error:  # whatever the libraries raise for other files
        raise Refused(f"the IP-Adapter {weights.name} cannot be loaded: {error}") from error
    projection = unet.encoder_hid_proj.image_projection_layers[0]
    if type(projection).__name__ not in READ_AS_PLAIN + READ_HIDDEN:
        raise Refused(f"IP-Adapters with {type(projection).__name__} are not supported")
    blocks: list[str] = []
    levels: list[int] = []
    for name, module in unet.named_modules():
        processor: Any = getattr(module, "processor", None)
        if hasattr(processor, "to_k_ip"):
            levels.append(level_of(name, len(unet.config.block_out_channels)))
            parts = processor.to_k_ip[0], processor.to_v_ip[0]
            module.set_processor(ImagePromptAttention(len(blocks), *parts, levels[-1]))
            blocks.append(name)
    unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = None, None
    wrapped = ImageEncoder(encoder, projection).eval().requires_grad_(False)
    side = int(encoder.config.image_size)
    with torch.no_grad():
        tokens = wrapped(torch.zeros(1, side, side, 3, dtype=torch.uint8))[0]
    return LoadedImagePrompt(wrapped, side, tokens.shape[1], tokens.shape[2], tuple(blocks), tuple(levels))
