"""Random checkpoints of the real classes with tiny configurations, in diffusers' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
)

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
ORIGIN = {"data": "random numbers"}
WORDS = ("red", "green", "apple", "cat", "flat", "noto")


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """Letters and two merges, as CLIP's byte pairs are made."""
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    tokens = ["!", *letters, *(f"{c}</w>" for c in letters), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[("r", "e"), ("re", "d</w>")], pad_token=pad, model_max_length=77)


def word_tokenizer(length: int = 16) -> PreTrainedTokenizerFast:
    """A token per word, as a family of this repository has."""
    vocab = {word: i for i, word in enumerate(("<pad>", "<bos>", "<eos>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=length,
    )


def text_encoder(tokenizer: Any, width: int, pooled: bool = False, act: str = "quick_gelu") -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=24,
        hidden_act=act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return livelier((CLIPTextModelWithProjection if pooled else CLIPTextModel)(config))


def unet(width: int, channels: int = 4, **more: Any) -> diffusers.UNet2DConditionModel:
    return livelier(
        diffusers.UNet2DConditionModel(
            **{
                "sample_size": 8,
                "in_channels": channels,
                "out_channels": channels,
                "block_out_channels": (8, 16),
                "layers_per_block": 1,
                "norm_num_groups": 4,
                "attention_head_dim": 2,
                "cross_attention_dim": width,
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
                **more,
            }
        )
    )


def autoencoder_kl(**more: Any) -> diffusers.AutoencoderKL:
    """Eight pixels a latent."""
    return livelier(
        diffusers.AutoencoderKL(
            **{
                "block_out_channels": (8, 8, 8, 8),
                "down_block_types": ("DownEncoderBlock2D",) * 4,
                "up_block_types": ("UpDecoderBlock2D",) * 4,
                "norm_num_groups": 4,
                "latent_channels": 4,
                **more,
            }
        )
    )


def livelier(network: Any) -> Any:
    """Fresh networks hardly answer to their prompts: matrices and kernels are made larger, biases random."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.3)
            else:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def stable_diffusion_15(folder: Path) -> Path:
    """epsilon, PNDM as the original has it."""
    torch.manual_seed(15)
    tokenizer = clip_tokenizer()
    scheduler = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    _save(folder, text_encoder(tokenizer, 32), tokenizer, unet(32), autoencoder_kl(), scheduler)
    return folder


def stable_diffusion_15_inpainting(folder: Path) -> Path:
    """The UNet takes the mask and the latents of the masked picture too."""
    torch.manual_seed(16)
    tokenizer = clip_tokenizer()
    scheduler = diffusers.DDIMScheduler(**BETAS, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    parts = (text_encoder(tokenizer, 32), tokenizer, unet(32, in_channels=9), autoencoder_kl(), scheduler)
    _save(folder, *parts, pipeline=diffusers.StableDiffusionInpaintPipeline)
    return folder


def stable_diffusion_xl_inpainting(folder: Path) -> Path:
    return stable_diffusion_xl(folder, diffusers.StableDiffusionXLInpaintPipeline, in_channels=9)


def stable_diffusion_21(folder: Path) -> Path:
    """v prediction, linear projections, heads per level, DDIM."""
    torch.manual_seed(21)
    tokenizer = clip_tokenizer(pad="!")
    network = unet(40, use_linear_projection=True, attention_head_dim=(2, 4), upcast_attention=True)
    scheduler = diffusers.DDIMScheduler(
        **BETAS, prediction_type="v_prediction", steps_offset=1, clip_sample=False, set_alpha_to_one=False
    )
    _save(folder, text_encoder(tokenizer, 40, act="gelu"), tokenizer, network, autoencoder_kl(), scheduler)
    return folder


def stable_diffusion_xl(folder: Path, pipeline_class: Any = diffusers.StableDiffusionXLPipeline, **more: Any) -> Path:
    """Two encoders, pooled embeddings and sizes as conditions, several transformers at a level, Euler."""
    torch.manual_seed(22)
    first, second = clip_tokenizer(), clip_tokenizer(pad="!")
    network = unet(
        32 + 40,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        **more,
    )
    pipeline = pipeline_class(
        vae=autoencoder_kl(scaling_factor=0.13025),
        text_encoder=text_encoder(first, 32),
        text_encoder_2=text_encoder(second, 40, pooled=True, act="gelu"),
        tokenizer=first,
        tokenizer_2=second,
        unet=network,
        scheduler=diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
    )
    pipeline.save_pretrained(folder)
    return folder


def starter(folder: Path) -> Path:
    """A flow, words for tokens, AutoencoderTiny with eight channels at four pixels a latent."""
    torch.manual_seed(23)
    tokenizer = word_tokenizer()
    vae = diffusers.AutoencoderTiny(
        latent_channels=8,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=0.9,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=2.0)
    _save(folder, text_encoder(tokenizer, 32), tokenizer, unet(32, channels=8, sample_size=16), vae.eval(), scheduler)
    stated = {"defaults": {"guidance_scale": 3.0}, "sizes": {"min_px": 32, "max_px": 96}, "origin": ORIGIN}
    (folder / "atelier.json").write_text(json.dumps(stated))
    return folder


def _save(
    folder: Path,
    encoder: Any,
    tokenizer: Any,
    network: Any,
    vae: Any,
    scheduler: Any,
    pipeline: Any = diffusers.StableDiffusionPipeline,
) -> None:
    pipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
