"""Random adapters for the random checkpoints: LoRAs in the files of three tools, ControlNets and IP-Adapters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
from checkpoints import livelier
from safetensors.torch import save
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

Deltas = dict[str, dict[str, torch.Tensor]]
"""What is added to weights, by component and module."""


def adaptable(network: nn.Module, every: int) -> Iterator[tuple[str, Any]]:
    """Every ``every``-th matrix and kernel."""
    modules = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return iter(modules[::every])


def random_lora(pipeline: Any, tool: str, seed: int, rank: int = 4, every: int = 2) -> tuple[bytes, Deltas]:
    """The file of a LoRA on all components, as ``kohya``, ``peft`` or ``diffusers`` writes it, and what it adds."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    deltas: Deltas = {}
    metadata: dict[str, Any] = {}
    components = {"unet": "unet", "text_encoder": "te1" if hasattr(pipeline, "text_encoder_2") else "te"}
    if hasattr(pipeline, "text_encoder_2"):
        components["text_encoder_2"] = "te2"
    for component, short in components.items():
        deltas[component] = {}
        metadata |= {f"{component}.lora_alpha": 2 * rank, f"{component}.r": rank}
        for name, module in adaptable(getattr(pipeline, component), every):
            weight = module.weight
            down = 0.2 * torch.randn(rank, *weight.shape[1:], generator=generator)
            up = 0.2 * torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
            if tool == "kohya":
                down, up = down.half().float(), up.half().float()
            scale = {"kohya": 0.5, "peft": 2.0, "diffusers": 1.0}[tool]
            deltas[component][name] = scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
            if component != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            if tool == "kohya":
                key = f"lora_{short}_{name.replace('.', '_')}"
                tensors |= {f"{key}.lora_down.weight": down.half(), f"{key}.lora_up.weight": up.half()}
                tensors[f"{key}.alpha"] = torch.tensor(scale * rank)
            else:
                one, other = ("lora_A", "lora_B") if tool == "peft" else ("lora.down", "lora.up")
                tensors |= {f"{component}.{name}.{one}.weight": down, f"{component}.{name}.{other}.weight": up}
    written = {"lora_adapter_metadata": json.dumps(metadata)} if tool == "peft" else None
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, written), deltas


def merge(pipeline: Any, deltas: Deltas, weight: float) -> None:
    """Adds a LoRA to the weights, as ``fuse_lora`` does."""
    with torch.no_grad():
        for component, layers in deltas.items():
            modules = dict(getattr(pipeline, component).named_modules())
            for name, delta in layers.items():
                modules[name].weight += weight * delta


def controlnet(folder: Path, unet: Any, seed: int) -> Path:
    """Of the UNet's shape; its zero convolutions are not zero."""
    torch.manual_seed(seed)
    network = diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    with torch.no_grad():
        for module in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            module.weight.copy_(0.3 * torch.randn_like(module.weight))
    livelier(network).save_pretrained(folder)
    return folder


def ip_adapter(folder: Path, unet: Any, seed: int) -> Path:
    """The file of an IP-Adapter in the layout of its authors, beside its image encoder."""
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=7,
        projection_dim=24,
    )  # fmt: skip
    livelier(CLIPVisionModelWithProjection(config)).save_pretrained(folder / "image_encoder")
    width = unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": 0.3 * torch.randn(4 * width, 24),
        "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            query = unet.get_submodule(name.removesuffix(".processor")).to_q
            for part in ("k", "v"):
                key = f"ip_adapter.{number}.to_{part}_ip.weight"
                state[key] = torch.randn(query.out_features, width) / width**0.5
    path = folder / "ip-adapter.safetensors"
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}))
    return path
