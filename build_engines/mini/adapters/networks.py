"""The adapters as networks that train: each answers the velocity that the frozen UNet predicts with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from torch import Tensor, nn

from build_engines.illustrate.adapters import adaptable_layers
from build_engines.illustrate.image_prompts import ImagePromptAttention, level_of
from build_engines.mini.adapters.features import features

CONDITION_WIDTHS = (16, 32, 64, 96)
LORA_RANK = 8
_FEATURES = 9 * 16 + 8


class Control(nn.Module):
    """A ControlNet whose attention and embedding of time stay the UNet's, which its engine shares then."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = [unet]  # a list: the UNet is none of its parts
        self.controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CONDITION_WIDTHS)
        self.controlnet.set_attn_processor(AttnProcessor())
        for name, parameter in self.controlnet.named_parameters():
            parameter.requires_grad_("transformer_blocks" not in name and not name.startswith("time_embedding"))

    def forward(self, sample: Tensor, timesteps: Tensor, embeds: Tensor, control: Tensor) -> Tensor:
        """``control``: (B, 3, 64, 64) from 0 to 1."""
        down, middle = self.controlnet(sample, timesteps, embeds, control, return_dict=False)
        velocity: Tensor = self.unet[0](
            sample, timesteps, embeds, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return velocity

    def save(self, folder: Path) -> None:
        self.controlnet.save_pretrained(folder)


class Reference(nn.Module):
    """An IP-Adapter: a token for each of the 64 features of a reference, and keys and values of them."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        from diffusers.models.embeddings import IPAdapterFullImageProjection

        self.unet = [unet]
        width = int(unet.config.cross_attention_dim)
        self.projection = IPAdapterFullImageProjection(_FEATURES, width)
        self.keys, self.values = nn.ModuleList(), nn.ModuleList()
        levels = len(unet.config.block_out_channels)
        self._inputs = {f"image_mask_{level}": torch.ones(1, 1, 1) for level in range(levels)}
        for name, module in unet.named_modules():
            if name.endswith("attn2"):
                attending: Any = module
                weights = [part.weight.detach() for part in (attending.to_k, attending.to_v)]
                key, value = (nn.Linear(width, len(weight), bias=False) for weight in weights)
                key.weight.data.copy_(weights[0])
                value.weight.data.copy_(0.1 * weights[1])
                attention = ImagePromptAttention(len(self.keys), key, value, level_of(name, levels))
                attention.read = self._inputs.__getitem__
                attending.set_processor(attention)
                self.keys.append(key)
                self.values.append(value)

    def forward(self, sample: Tensor, timesteps: Tensor, embeds: Tensor, reference: Tensor) -> Tensor:
        """``reference``: (B, 16, 8, 8), the autoencoder's own latents."""
        self._inputs["image_tokens"] = self.projection(features(reference))[:, None]
        self._inputs["image_scales"] = torch.ones(len(sample), 1, len(self.keys))
        velocity: Tensor = self.unet[0](sample, timesteps, embeds).sample
        return velocity

    def save(self, path: Path) -> None:
        """In the original layout, which diffusers reads."""
        names = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2", "norm": "proj.3"}
        state = {}
        for key, tensor in self.projection.state_dict().items():
            own = next(own for own in names if key.startswith(own))
            state[f"image_proj.{key.replace(own, names[own])}"] = tensor.contiguous()
        for part, layers in (("k", self.keys), ("v", self.values)):
            for i, weight in enumerate(layers.parameters()):
                state[f"ip_adapter.{2 * i + 1}.to_{part}_ip.weight"] = weight.detach().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, str(path))


class Lora(nn.Module):
    """Low-rank factors beside every matrix and kernel of the UNet."""

    def __init__(self, unet: UNet2DConditionModel, rank: int = LORA_RANK) -> None:
        super().__init__()
        self.unet, self.names = [unet], []
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        modules = dict(unet.named_modules())
        for layer in (layer for layers in adaptable_layers(unet).values() for layer in layers):
            module = modules[layer.name]
            down: Any
            up: Any
            if isinstance(module, nn.Conv2d):
                stride, padding = int(module.stride[0]), int(module.padding[0])
                down = nn.Conv2d(layer.inputs, rank, layer.kernel, stride, padding, bias=False)
                up = nn.Conv2d(rank, layer.outputs, 1, bias=False)
            else:
                down = nn.Linear(layer.inputs, rank, bias=False)
                up = nn.Linear(rank, layer.outputs, bias=False)
            nn.init.zeros_(up.weight)
            self.names.append(layer.name)
            self.downs.append(down)
            self.ups.append(up)
            module.register_forward_hook(partial(self._add, len(self.names) - 1))

    def _add(self, index: int, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = self.ups[index](self.downs[index](inputs[0]))
        return output + added

    def forward(self, sample: Tensor, timesteps: Tensor, embeds: Tensor) -> Tensor:
        velocity: Tensor = self.unet[0](sample, timesteps, embeds).sample
        return velocity

    def save(self, path: Path) -> None:
        """As diffusers and PEFT name the factors, in float16."""
        state: dict[str, Tensor] = {}
        down: Any
        up: Any
        for name, down, up in zip(self.names, self.downs, self.ups, strict=True):
            state[f"unet.{name}.lora_A.weight"] = down.weight.detach().half().contiguous()
            state[f"unet.{name}.lora_B.weight"] = up.weight.detach().half().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, str(path), metadata={"format": "pt"})
