"""The three networks of the family, as classes of diffusers and transformers, and how they run fast here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel

from build_engines.mini.pictures import SIDE_PX
from build_engines.mini.presets import AutoencoderPreset, FlowPreset
from build_engines.mini.tokenizer import BOS, EOS, MAX_TOKENS, PAD

DOWNSAMPLE = 8
GRID = SIDE_PX // DOWNSAMPLE


def make_autoencoder(preset: AutoencoderPreset) -> AutoencoderTiny:
    """64x64 pixels to 8x8 latents and back (the architecture of TAESD, Bohan 2023), without normalisation layers."""
    widths = (preset.width,) * len(preset.encoder_blocks)
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=preset.encoder_blocks,
        num_decoder_blocks=preset.decoder_blocks,
        latent_channels=preset.channels,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def make_text_encoder(preset: FlowPreset, words: int) -> CLIPTextModel:
    """CLIP's text transformer; its last hidden state after the final norm is what the UNet attends to."""
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=preset.text_width,
        intermediate_size=4 * preset.text_width,
        projection_dim=preset.text_width,
        num_hidden_layers=preset.text_layers,
        num_attention_heads=preset.text_heads,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attn_implementation="eager",
    )
    return CLIPTextModel(config)


def make_unet(preset: FlowPreset, channels: int) -> UNet2DConditionModel:
    """Attention at every level: an 8x8 grid is small. Plain attention: the fused one is slow for so few positions."""
    levels = len(preset.widths)
    unet = UNet2DConditionModel(
        sample_size=GRID,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=preset.widths,
        layers_per_block=preset.layers,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        attention_head_dim=preset.heads,
        cross_attention_dim=preset.text_width,
    )
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)


def fast_bf16(device: str) -> bool:
    """Whether bfloat16 is faster than float32: any GPU, and CPUs with matrix tiles (AMX)."""
    return device != "cpu" or bool(torch.cpu._is_amx_tile_supported())


@contextlib.contextmanager
def mixed_precision(device: str) -> Iterator[None]:
    """Matrix products and convolutions in bfloat16 where that is faster; weights and optimiser stay float32."""
    with torch.autocast(device, torch.bfloat16, enabled=fast_bf16(device)):
        yield
