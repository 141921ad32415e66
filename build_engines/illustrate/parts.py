"""The networks of a checkpoint as engines run them: plain tensors in and out, in the contract's order."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from build_engines.illustrate.checkpoint import Checkpoint, FamilyClass
from build_engines.illustrate.contracts import Engine
from build_engines.illustrate.refusal import Refused

DISTILLED_GUIDANCE = 8.5
"""The guidance that a UNet with a guidance embedding (LCM) is told: the default of LatentConsistencyModelPipeline."""


class TextEncoder(nn.Module):
    """``input_ids`` (B, tokens) to what the UNet attends to (B, tokens, width), and for SDXL's second the pooled."""

    def __init__(self, encoder: nn.Module, penultimate: bool, pooled: bool) -> None:
        super().__init__()
        self.encoder, self.penultimate, self.pooled = encoder, penultimate, pooled

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        out = self.encoder(input_ids.long(), output_hidden_states=self.penultimate)
        embeds = (out.hidden_states[-2] if self.penultimate else out.last_hidden_state).float()
        return (embeds, out.text_embeds.float()) if self.pooled else embeds


class UNet(nn.Module):
    """One denoising step of each picture at its own ``timestep`` (B, 1)."""

    unet: Any
    guidance: torch.Tensor | None

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        width = unet.config.time_cond_proj_dim
        guidance = guidance_embedding(DISTILLED_GUIDANCE, width) if width else None
        self.register_buffer("guidance", guidance, persistent=False)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
        time_ids: torch.Tensor | None = None,
        residuals: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """``residuals``: those of ControlNets, the middle block's last."""
        dtype = self.unet.dtype
        added = None
        if text_embeds is not None:
            added = {"text_embeds": text_embeds.to(dtype), "time_ids": time_ids}
        controlled: dict[str, Any] = {}
        if residuals is not None:
            controlled["down_block_additional_residuals"] = tuple(residuals[:-1])
            controlled["mid_block_additional_residual"] = residuals[-1]
        condition = None if self.guidance is None else self.guidance.expand(sample.shape[0], -1).to(dtype)
        answer: torch.Tensor = self.unet(
            sample.to(dtype),
            timestep[:, 0],
            encoder_hidden_states.to(dtype),
            timestep_cond=condition,
            added_cond_kwargs=added,
            return_dict=False,
            **controlled,
        )[0]
        return answer.float()


class _VaePart(nn.Module):
    """A VAE and the way between its latents and the UNet's, see `latent_affine`."""

    vae: Any
    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        scale, shift = latent_affine(vae.config)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)


class VaeDecoder(_VaePart):
    """``latents`` (B, C, h, w) in the UNet's space to ``image`` (B, H, W, 3) of bytes.

    (B, H, W, 4) with straight alpha of a VAE that decodes to premultiplied RGBA.
    """

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        raw = (latents / self.scale + self.shift).to(self.vae.dtype)
        decoded: torch.Tensor = self.vae.decode(raw, return_dict=False)[0].float()
        unit = (decoded / 2 + 0.5).clamp(0, 1)
        if unit.shape[1] == 4:
            unit = straight_alpha(unit)
        levels = unit * 255
        return levels.permute(0, 2, 3, 1).round().to(torch.uint8)


class VaeEncoder(_VaePart):
    """``image`` (B, H, W, 3) of bytes to mean and deviation (B, C, h, w) of its latents in the UNet's space.

    A VAE of RGBA gets it as an opaque picture.
    """

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = image.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1
        if self.vae.config.in_channels == 4:
            pixels = nn.functional.pad(pixels, (0, 0, 0, 0, 0, 1), value=1.0)
        out = self.vae.encode(pixels.to(self.vae.dtype))
        if hasattr(out, "latents"):  # AutoencoderTiny knows no deviation
            mean, std = out.latents.float(), torch.zeros_like(out.latents).float()
        else:
            mean, std = out.latent_dist.mean.float(), out.latent_dist.std.float()
        return (mean - self.shift) * self.scale, std * self.scale


class Judge(nn.Module):
    """``image`` (B, side, side, 3) of bytes and ``input_ids`` (B, tokens) to ``fit`` (B, 1), from 0 to 1."""

    def __init__(self, judge: nn.Module) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, image: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        pixels = image.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1
        fit: torch.Tensor = self.judge(pixels, input_ids.long())
        return (1 + fit[:, None]) / 2


def straight_alpha(unit: torch.Tensor) -> torch.Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [0, 1] as straight; what is transparent to 8 bits has no colour."""
    alpha = unit[:, 3:]
    least = 1 / 510
    colours = torch.where(alpha > least, (unit[:, :3] / alpha.clamp(min=least)).clamp(0, 1), torch.zeros_like(alpha))
    return torch.cat([colours, alpha], 1)


def latent_affine(config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, shift), each (1, C, 1, 1): the UNet's latents are (raw - shift) * scale.

    As StableDiffusionXLPipeline undoes it where a VAE states mean and deviation per channel.
    """
    channels = config.latent_channels
    mean = torch.tensor(getattr(config, "latents_mean", None) or [0.0] * channels)
    std = torch.tensor(getattr(config, "latents_std", None) or [1.0] * channels)
    shift = mean + (getattr(config, "shift_factor", None) or 0.0)
    return (config.scaling_factor / std).view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def guidance_embedding(guidance_scale: float, width: int) -> torch.Tensor:
    """(1, width): sines and cosines of 1000 * (guidance_scale - 1) (Meng et al. 2023, appendix; Luo et al. 2023)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
    phases = 1000.0 * (guidance_scale - 1) * frequencies
    return nn.functional.pad(torch.cat([phases.sin(), phases.cos()]), (0, width % 2))[None]


_OWN = {
    "HybridDenoiser": "build_engines.mini.training.hybrid",
    "VectorDenoiser": "build_engines.mini.training.vector",
    "RgbaAutoencoder": "build_engines.mini.training.networks",
    "CaptionJudge": "build_engines.mini.training.judges",
}
"""Modules of the classes that diffusers does not have."""


def load(checkpoint: Checkpoint, component: str) -> Any:
    """The checkpoint's network ``component`` on the CPU in float32, from safetensors. Raises Refused."""
    import diffusers
    import transformers

    for library in (diffusers.utils, transformers.utils):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    name = checkpoint.class_of(component)
    options: dict[str, Any] = {
        "use_safetensors": True,
        "variant": checkpoint.weights(component).variant,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if component.startswith("text"):
        cls, options["dtype"] = getattr(transformers, name), torch.float32
    else:
        home = importlib.import_module(_OWN[name]) if name in _OWN else diffusers
        cls, options["torch_dtype"] = getattr(home, name), torch.float32
        options["low_cpu_mem_usage"] = False
    try:
        network, facts = cls.from_pretrained(checkpoint.folder(component), **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(f"{component} cannot be loaded: {error}") from error
    if missing := sorted(facts["missing_keys"]):
        raise Refused(f"{component} lacks {len(missing)} weights of its configuration, {missing[0]} for one")
    return network.eval().requires_grad_(False)


def wrap(checkpoint: Checkpoint, engine: Engine, network: Any) -> nn.Module:
    """``network`` behind the engine's tensors."""
    if engine.part.startswith("text_encoder"):
        xl = checkpoint.family_class == "stable-diffusion-xl"
        return TextEncoder(network, penultimate=xl, pooled=engine.part == "text_encoder_2").eval()
    if engine.part == "image_encoder":
        return network  # type: ignore[no-any-return]
    wrappers = {"unet": UNet, "vae_decoder": VaeDecoder, "vae_encoder": VaeEncoder, "judge": Judge}
    return wrappers[engine.part](network).eval()


def half_precision(network: nn.Module, family_class: FamilyClass) -> nn.Module:
    """A copy of a wrapped network that computes in float16 and can be traced for strongly typed TensorRT.

    Three things are not simply cast:

    - The VAE of SDXL stays in float32 where its configuration has ``force_upcast``: its decoder overflows float16.
      diffusers' pipelines of Stable Diffusion 1.5 and 2.1 ignore that key (its default is true) and so does this.
    - Normalisations compute in float32. A strongly typed network computes them in the type of their input, and the
      sum of squares over a group of an SDXL latent (10 channels of 128 x 128) does not fit into float16.
    - Text encoders use eager attention: of ``scaled_dot_product_attention`` the exporter writes the causal mask in
      float32, and no runtime loads the mixed types that follow.
    """
    from transformers import PreTrainedModel

    twin = copy.deepcopy(network)
    for child in twin.children():
        if isinstance(child, PreTrainedModel):
            child.set_attn_implementation("eager")
        overflows = isinstance(twin, _VaePart) and getattr(child.config, "force_upcast", False)
        if not (overflows and family_class == "stable-diffusion-xl"):
            child.half()
            _normalise_in_float32(child)
    return twin


def _normalise_in_float32(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.float()
            module.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(), *inputs[1:]))
            module.register_forward_hook(lambda module, inputs, output: output.half())
