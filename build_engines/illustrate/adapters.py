"""The second network of an engine that takes adapters: ``adapted.onnx``, and a ControlNet's own file beside it.

A LoRA changes a layer's output by ``up(gain * down(x))``. Both factors are inputs, those of all LoRAs of a batch one
below the other, and ``gain`` is a row's own. Kernels are written as a product by position and a sum of shifts: OpenVINO
has no convolution with a kernel that is an input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from build_engines.export.config import Backend
from build_engines.export.runtimes import RUNTIMES, Arrays
from build_engines.illustrate import onnx_file, parity
from build_engines.illustrate.checkpoint import Checkpoint
from build_engines.illustrate.contracts import Engine
from build_engines.illustrate.image_prompts import ImagePromptAttention
from build_engines.illustrate.precision import Precision
from build_engines.illustrate.refusal import Refused
from serve.diffusion.adapters import ControlNet, EngineAdapters, ImagePrompt, Layer
from serve.engines.backends import ADAPTED_MODEL, ADAPTERS_DESCRIPTION

_CONTROL_SCALE = 8
"""Pixels of a control picture per latent, along a side: three halvings in ControlNetModel."""
_RANKS = (3, 2)
"""Of the factors that are traced and compared with, by group."""

Values = Mapping[str, torch.Tensor]


def adaptable_layers(root: nn.Module) -> dict[str, list[Layer]]:
    """Matrices and kernels that a LoRA may change, by group: ``attention`` has what most LoRAs change, ``other`` the
    rest. Of networks that are not diffusers' or transformers' only those of the transformer."""
    groups: dict[str, list[Layer]] = {"attention": [], "other": []}
    foreign = not type(root).__module__.startswith(("diffusers.", "transformers."))
    for name, module in root.named_modules():
        if ".processor." in name or (foreign and not name.startswith("transformer.")):
            continue
        layer = _layer(name, module)
        if layer is not None:
            attends = foreign or ".attentions." in name or name.split(".")[-2:-1] in (["self_attn"], ["mlp"])
            groups["attention" if attends else "other"].append(layer)
    return {group: layers for group, layers in groups.items() if layers}


def _layer(name: str, module: nn.Module) -> Layer | None:
    if isinstance(module, nn.Linear):
        return Layer(name=name, inputs=module.in_features, outputs=module.out_features)
    if isinstance(module, nn.Conv2d) and module.groups == 1 and len(set(module.kernel_size)) == 1:
        return Layer(
            name=name, inputs=module.in_channels, outputs=module.out_channels, kernel=int(module.kernel_size[0])
        )
    return None


def low_rank(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Of ``x`` (B, C) or (B, N, C); ``down`` (R, C), ``up`` (R, D), ``gains`` (B, R)."""
    return _scaled(F.linear(x, down), gains if x.ndim == 2 else gains[:, None]) @ up


def _scaled(products: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """``products`` times ``gains``; 0 where the gain is, also for products of other rows' factors that overflow."""
    return torch.where(gains == 0, torch.zeros_like(products), products * gains)


def low_rank_conv(
    x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gains: torch.Tensor, conv: nn.Conv2d
) -> torch.Tensor:
    """Of ``x`` (B, C, H, W); ``down`` (R, K*K*C) by kernel position, as `serve.diffusion.adapters` says."""
    kernel, stride, pad = int(conv.kernel_size[0]), int(conv.stride[0]), int(conv.padding[0])
    products = down.reshape(-1, x.shape[1]) @ x.flatten(2)
    products = products.reshape(x.shape[0], -1, kernel * kernel, x.shape[2], x.shape[3])
    if pad:
        products = F.pad(products, (pad, pad, pad, pad))
    total: torch.Tensor | None = None
    for i in range(kernel):
        for j in range(kernel):
            rows, columns = slice(i, i - kernel + 1 or None, stride), slice(j, j - kernel + 1 or None, stride)
            shifted = products[:, :, i * kernel + j, rows, columns]
            total = shifted if total is None else total + shifted
    assert total is not None
    made = up.t() @ _scaled(total, gains[:, :, None, None]).flatten(2)
    return made.reshape(x.shape[0], -1, total.shape[2], total.shape[3])


class Adapted(nn.Module):
    """A wrapped part of a checkpoint with the inputs of its adapters after its own, in the order of ``names``."""

    def __init__(self, network: nn.Module, root: nn.Module, own: Sequence[str], adapters: EngineAdapters) -> None:
        super().__init__()
        self.network, self.root = network, root
        self.own = tuple(own)
        self.adapters = adapters
        lora = [name for group in adapters.layers for name in (f"lora_{group}", f"lora_{group}_gains")]
        prompt = adapters.image_prompt
        images = [] if prompt is None else ["image_tokens", "image_scales", *prompt.mask_names]
        self.names = (*own, *lora, *images, *adapters.residuals)
        self._values: Values = {}

    def forward(self, *tensors: torch.Tensor) -> Any:
        self._values = dict(zip(self.names, tensors, strict=True))
        own = tensors[: len(self.own)]
        if not self.adapters.residuals:
            return self.network(*own)
        residuals = [self._values[name] for name in self.adapters.residuals]
        return self.network(*own, residuals=residuals)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Meanwhile the network's layers take the adapters; it is unchanged afterwards."""
        modules = dict(self.root.named_modules())
        handles = [
            modules[name].register_forward_hook(partial(self._adapt, *position))
            for name, position in self.adapters.positions.items()
        ]
        attentions = [module.processor for module in modules.values() if _reads_images(module)]
        for attention in attentions:
            attention.read = self.value
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for attention in attentions:
                attention.read = None

    def value(self, name: str) -> torch.Tensor:
        return self._values[name]

    def _adapt(
        self, group: str, offset: int, layer: Layer, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any
    ) -> Any:
        factors, gains = self._values[f"lora_{group}"], self._values[f"lora_{group}_gains"]
        middle, end = offset + layer.down_width, offset + layer.width
        down, up = factors[:, offset:middle], factors[:, middle:end]
        if isinstance(module, nn.Conv2d):
            return output + low_rank_conv(inputs[0], down, up, gains, module)
        return output + low_rank(inputs[0], down, up, gains)


def _reads_images(module: nn.Module) -> bool:
    return isinstance(getattr(module, "processor", None), ImagePromptAttention)


class ControlledBy(nn.Module):
    """A ControlNet behind a UNet's tensors and ``control`` (B, H, W, 3) of bytes; its answers are the residuals."""

    def __init__(self, controlnet: Any, channels: int, xl: bool) -> None:
        super().__init__()
        self.controlnet, self.channels, self.xl = controlnet, channels, xl

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sample, timestep, states, *added, control = tensors
        named = {"text_embeds": added[0], "time_ids": added[1]} if self.xl else None
        down, middle = self.controlnet(
            sample[:, : self.channels],
            timestep[:, 0],
            states,
            control.permute(0, 3, 1, 2).float() / 255,
            1.0,
            added_cond_kwargs=named,
            return_dict=False,
        )
        return (*down, middle)


def load_controlnet(folder: Path, checkpoint: Checkpoint) -> ControlledBy:
    """Raises Refused for one that does not fit the checkpoint's UNet."""
    import diffusers

    try:
        controlnet = diffusers.ControlNetModel.from_pretrained(folder, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(f"the ControlNet in {folder} cannot be loaded: {error}") from error
    unet, own = checkpoint.config("unet"), controlnet.config
    names = ("block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types")
    for name in names:
        mine = unet.get(name)
        if mine is not None and (list(own[name]) if isinstance(mine, list) else own[name]) != mine:
            raise Refused(f"the ControlNet in {folder} is for another kind of model: its {name} is {own[name]}")
    if checkpoint.downsample != _CONTROL_SCALE:
        raise Refused(
            f"ControlNets work at {_CONTROL_SCALE} pixels per latent; this checkpoint has {checkpoint.downsample}"
        )
    xl = checkpoint.family_class == "stable-diffusion-xl"
    return ControlledBy(controlnet.eval().requires_grad_(False), checkpoint.latent_channels, xl).eval()


@dataclass(frozen=True)
class AdapterBuild:
    """Writes the files of one engine's adapters."""

    engine: Engine
    precision: Precision
    backend: Backend
    folder: Path
    lazy: bool = False

    def write(
        self,
        network: nn.Module,
        root: nn.Module,
        example: Callable[[], Arrays],
        controlnets: Mapping[str, tuple[nn.Module, str]],
        image_prompt: ImagePrompt | None,
    ) -> tuple[EngineAdapters, dict[str, Any]]:
        """(what the engine takes, parity by file). ``controlnets``: each with its source. Raises ParityError."""
        own, facts = [tensor.name for tensor in self.engine.contract.inputs], {}
        inputs = example()
        residuals: Arrays = {}
        controls = {}
        for name, (controlnet, source) in controlnets.items():
            file = f"control_{name}.onnx"
            residuals, facts[file] = self._write_control(controlnet, inputs, file)
            controls[name] = ControlNet(file=file, source=source)
        adapters = EngineAdapters(
            layers={group: tuple(layers) for group, layers in adaptable_layers(root).items()},
            residuals=tuple(residuals),
            controls=controls,
            image_prompt=image_prompt,
            lazy=self.lazy,
        )
        adapted = Adapted(network, root, own, adapters)
        every = {**inputs, **self._random(adapters, inputs[own[0]].shape), **residuals}
        every = {name: every[name] for name in adapted.names}
        with adapted.active():
            outputs = [tensor.name for tensor in self.engine.contract.outputs]
            facts[ADAPTED_MODEL] = self._write(adapted, every, outputs, _axes(self.engine, adapters), ADAPTED_MODEL)
        (self.folder / ADAPTERS_DESCRIPTION).write_text(json.dumps(adapters.model_dump(mode="json")) + "\n")
        return adapters, facts

    def _write_control(self, controlnet: nn.Module, inputs: Arrays, file: str) -> tuple[Arrays, dict[str, Any]]:
        """The residuals of ``inputs``, by name, and parity."""
        rows, _, height, width = inputs["sample"].shape
        rng = np.random.default_rng(7)
        picture = rng.integers(0, 256, (rows, _CONTROL_SCALE * height, _CONTROL_SCALE * width, 3), dtype=np.uint8)
        every = {**inputs, "control": picture}
        with torch.no_grad():
            answers = controlnet(*map(torch.from_numpy, every.values()))
        names = [f"residual_{i}" for i in range(len(answers))]
        axes = {tensor.name: {0: "batch", **tensor.free} for tensor in self.engine.contract.inputs}
        axes |= {"control": {0: "batch", 1: "height_px", 2: "width_px"}}
        axes |= {name: {0: "batch", 2: f"{name}_h", 3: f"{name}_w"} for name in names}
        facts = self._write(controlnet, every, names, axes, file)
        return dict(zip(names, (answer.numpy() for answer in answers), strict=True)), facts

    def _write(
        self, network: nn.Module, inputs: Arrays, outputs: Sequence[str], axes: Mapping[str, Any], file: str
    ) -> dict[str, Any]:
        path = self.folder / file
        first = self.folder / "model.onnx"
        onnx_file.save(onnx_file.trace(network, inputs, outputs, axes, path), self.precision, path, first=first)
        with torch.no_grad():
            answer = network(*map(torch.from_numpy, inputs.values()))
        expected = [one.numpy() for one in (answer if isinstance(answer, tuple) else (answer,))]
        opener = partial(RUNTIMES[self.backend], path, self.engine.contract, outputs)
        return parity.check_file(file, outputs, {self.backend: opener}, [(inputs, expected)], self.precision)

    def _random(self, adapters: EngineAdapters, shape: tuple[int, ...]) -> Arrays:
        """``shape``: of the engine's first input."""
        rng, rows = np.random.default_rng(5), shape[0]
        made: Arrays = {}
        for (group, layers), rank in zip(adapters.layers.items(), _RANKS, strict=False):
            width = sum(layer.width for layer in layers)
            made[f"lora_{group}"] = 0.05 * rng.standard_normal((rank, width), np.float32)
            made[f"lora_{group}_gains"] = rng.standard_normal((rows, rank), np.float32)
        if (prompt := adapters.image_prompt) is not None:
            made["image_tokens"] = rng.standard_normal((rows, 2, prompt.tokens, prompt.width), np.float32)
            made["image_scales"] = rng.random((rows, 2, len(prompt.blocks)), np.float32)
            for name, (height, width) in zip(prompt.mask_names, prompt.grids(shape[2], shape[3]), strict=True):
                made[name] = rng.random((rows, 2, height * width), np.float32)
        return made


def _axes(engine: Engine, adapters: EngineAdapters) -> dict[str, dict[int, str]]:
    contract = engine.contract
    axes = {tensor.name: {0: "batch", **tensor.free} for tensor in (*contract.inputs, *contract.outputs)}
    for group in adapters.layers:
        axes[f"lora_{group}"] = {0: f"{group}_ranks"}
        axes[f"lora_{group}_gains"] = {0: "batch", 1: f"{group}_ranks"}
    axes["image_tokens"] = axes["image_scales"] = {0: "batch", 1: "references"}
    # Without a ControlNet each residual is one zero, without masks each mask is one one.
    axes |= {name: {axis: f"{name}_{axis}" for axis in range(4)} for name in adapters.residuals}
    if adapters.image_prompt is not None:
        axes |= {name: {axis: f"{name}_{axis}" for axis in range(3)} for name in adapters.image_prompt.mask_names}
    return axes
