"""The ``family`` object of the UNet's manifest: all that serving has to know beside the engines' tensors."""

from __future__ import annotations

from typing import Any

from build_engines.illustrate.checkpoint import Checkpoint
from build_engines.illustrate.schedulers import Schedule
from build_engines.illustrate.sizes import Sizes
from build_engines.illustrate.tokenizer import Tokenizer

_STEPS, _GUIDANCE = 30, 7.5
_FEW_STEPS, _NO_GUIDANCE = 4, 1.0


def family(
    name: str, checkpoint: Checkpoint, schedule: Schedule, tokenizers: dict[str, Tokenizer], sizes: Sizes
) -> dict[str, Any]:
    """``serve.diffusion.family`` reads it. atelier.json in the checkpoint overrides defaults and ``few_step``."""
    overrides = checkpoint.overrides
    few_step = bool(overrides.get("few_step", schedule.few_step))
    defaults = {
        "size": list(sizes.default),
        "num_inference_steps": _FEW_STEPS if few_step else _STEPS,
        "guidance_scale": _NO_GUIDANCE if few_step else _GUIDANCE,
        "sampler": schedule.sampler,
    }
    return {
        "name": name,
        "class": checkpoint.family_class,
        "source": checkpoint.source.name,
        "revision": checkpoint.source.revision,
        "prediction_type": schedule.prediction_type,
        "scheduler": checkpoint.config("scheduler"),
        "latents": {"channels": checkpoint.latent_channels, "downsample": sizes.downsample},
        "text": [_text(name, checkpoint, encoder, tokenizer) for encoder, tokenizer in tokenizers.items()],
        "defaults": defaults | overrides.get("defaults", {}),
        "sizes": {"multiple_of": sizes.multiple_of, "min_px": sizes.min_px, "max_px": sizes.max_px},
        "few_step": few_step,
        "alpha": checkpoint.picture_channels == 4,
        "inpainting": checkpoint.inpainting,
        "judge": _judge(name, checkpoint),
        "zeros_for_no_prompt": _zeros_for_no_prompt(checkpoint),
    }


def _judge(name: str, checkpoint: Checkpoint) -> dict[str, Any] | None:
    if not checkpoint.has_judge:
        return None
    return {"engine": f"{name}_judge", "side_px": checkpoint.config("judge")["side_px"]}


def _zeros_for_no_prompt(checkpoint: Checkpoint) -> bool:
    """As diffusers' SDXL pipeline reads its model_index.json; other classes encode the empty prompt."""
    if checkpoint.family_class != "stable-diffusion-xl":
        return False
    return bool(checkpoint.index.get("force_zeros_for_empty_prompt", True))


def _text(name: str, checkpoint: Checkpoint, encoder: str, tokenizer: Tokenizer) -> dict[str, Any]:
    config = checkpoint.config(encoder)
    return {
        "engine": f"{name}_{encoder}",
        "max_tokens": tokenizer.max_tokens,
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
        "pad": tokenizer.pad,
        "width": config["hidden_size"],
        "pooled_width": config["projection_dim"] if encoder == "text_encoder_2" else None,
    }
