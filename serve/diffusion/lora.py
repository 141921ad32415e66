"""LoRA files to the matrices that engines take: diffusers' and PEFT's keys, kohya's, for Stable Diffusion 1.5 to SDXL.

A file is untrusted. Only safetensors are read (`safetensors_file`), and values must be finite and bounded, as they come
and as they are scaled. Keys of kohya's scripts name SDXL's layers as the original implementation does
(``input_blocks``); `_original_names` has them, after diffusers' ``convert_unet_checkpoint``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.diffusion.adapters import EngineAdapters, Floats, Layer
from serve.diffusion.safetensors_file import FIELD, Tensor, read_safetensors, refused
from serve.errors import TooLarge

MAX_RANK = 256
MAX_MATRIX_BYTES = 1024**3
"""Of all matrices together. A file may be much smaller: one layer of a high rank makes the matrix of its group so."""
MAX_VALUE = 1e3
"""Of a factor's values, scaled by alpha. Larger ones overflow in engines of half precision."""
_PREFIXES = (
    ("unet.", "unet"), ("text_encoder_2.", "text_encoder_2"), ("text_encoder.", "text_encoder"),
    ("lora_unet_", "unet"), ("lora_te1_", "text_encoder"), ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"), ("base_model.model.", "unet"),
)  # fmt: skip
_KEY = re.compile(
    r"(?P<layer>.+?)(?:_lora|\.lora_linear_layer|\.lora)?"
    r"(?:[._]lora_(?P<peft>[AB])|[._]lora_(?P<kohya>down|up)|\.(?P<plain>down|up))(?:\.default)?\.weight"
)
_OTHER_KINDS = {
    "lora_mid": "Tucker decompositions", "hada_": "LoHa", "lokr_": "LoKr", "oft_": "OFT", "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA", ".diff$": "full differences",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lora:
    """``parts``: matrices by engine part and group. ``rank``: the largest of its layers."""

    parts: Mapping[str, Mapping[str, Floats]]
    rank: int
    layers: int

    def arrays(self) -> dict[str, Floats]:
        """As they lie in an adapter's file, by ``PART.GROUP``."""
        return {f"{part}.{group}": array for part, groups in self.parts.items() for group, array in groups.items()}


@dataclass
class _Factors:
    down: Tensor | None = None
    up: Tensor | None = None
    alpha: float | None = None


@dataclass
class _Target:
    """One layer of one engine that the file changes."""

    part: str
    group: str
    offset: int
    layer: Layer
    factors: _Factors = field(default_factory=_Factors)


def parse_lora(data: bytes, engines: Mapping[str, EngineAdapters], family: str) -> Lora:
    """The LoRA in a safetensors file for the ``engines`` of ``family``, by part. Raises InvalidRequest naming ``file``
    for what is no LoRA, or one of another family."""
    tensors, metadata = read_safetensors(data)
    targets = _targets(tensors, engines, family)
    alphas = _peft_alphas(metadata)
    ranks: dict[tuple[str, str], int] = {}
    for name, target in targets.items():
        rank = _check(name, target, family)
        key = target.part, target.group
        ranks[key] = max(rank, ranks.get(key, 0))
    size = sum(4 * rank * engines[part].width(group) for (part, group), rank in ranks.items())
    if size > MAX_MATRIX_BYTES:
        what = f"would take {size >> 20} MiB of memory; at most {MAX_MATRIX_BYTES >> 20} are allowed: use a lower rank"
        raise TooLarge(what, FIELD)
    parts: dict[str, dict[str, Floats]] = {}
    for (part, group), rank in ranks.items():
        parts.setdefault(part, {})[group] = np.zeros((rank, engines[part].width(group)), np.float32)
    for name, target in targets.items():
        _fill(parts[target.part][target.group], name, target, alphas)
    return Lora(parts, max(ranks.values()), len(targets))


def _targets(tensors: Mapping[str, Tensor], engines: Mapping[str, EngineAdapters], family: str) -> dict[str, _Target]:
    names = {part: _names(part, adapters) for part, adapters in engines.items()}
    targets: dict[str, _Target] = {}
    for key, values in tensors.items():
        for mark, kind in _OTHER_KINDS.items():
            if mark in f"{key}$":
                raise refused(f"has {kind} ({key[:128]!a}); only plain LoRAs are served")
        prefix, part = next(((prefix, part) for prefix, part in _PREFIXES if key.startswith(prefix)), ("", ""))
        match = _KEY.fullmatch(key.removeprefix(prefix)) if part else None
        layer_name = match["layer"] if match else key.removeprefix(prefix).removesuffix(".alpha")
        if not part or not (match or key.endswith(".alpha")):
            raise refused(f"has {key[:128]!a}, which is no key of a LoRA")
        if part not in names:
            raise refused(f"has {key[:128]!a}, and model '{family}' has no {part}")
        position = names[part].get(_flat(layer_name))
        if position is None:
            raise refused(f"has {key[:128]!a}, which is no layer of model '{family}': it is for another kind of model")
        target = targets.setdefault(f"{part}.{position[2].name}", _Target(part, *position))
        if match is None:
            target.factors.alpha = float(values.array().reshape(-1)[0]) if values.size == 1 else math.nan
        elif "A" in match.groups() or "down" in match.groups():
            target.factors.down = values
        else:
            target.factors.up = values
    if not targets:
        raise refused("has no tensors")
    return targets


def _flat(name: str) -> str:
    """As kohya's scripts write a layer's name; diffusers' older attention processors too."""
    name = name.removeprefix("text_model.").removeprefix("text_model_")
    name = name.replace(".processor.", ".").replace("to_out_lora", "to_out.0").replace("_lora", "")
    flat = name.replace(".", "_")
    return flat + "_0" if flat.endswith(("attn1_to_out", "attn2_to_out")) else flat


def _names(part: str, adapters: EngineAdapters) -> dict[str, tuple[str, int, Layer]]:
    """Positions by all the names that files have for a layer."""
    names = {_flat(name): position for name, position in adapters.positions.items()}
    if part == "unet":
        names |= {other: names[own] for other, own in _original_names(adapters.positions) if own in names}
    return names


def _original_names(layers: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of a UNet layer's flat name in the original implementation and diffusers' flat name."""
    layers = list(layers)
    depth = 1 + max((int(m[1]) for one in layers if (m := re.match(r"down_blocks\.0\.resnets\.(\d+)", one))), default=0)
    fixed = {
        "conv_in": "input_blocks_0_0", "conv_out": "out_2", "time_embedding_linear_1": "time_embed_0",
        "time_embedding_linear_2": "time_embed_2", "add_embedding_linear_1": "label_emb_0_0",
        "add_embedding_linear_2": "label_emb_0_2",
    }  # fmt: skip
    inside = {
        "conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1",
        "conv_shortcut": "skip_connection",
    }  # fmt: skip
    attended = {one.split(".attentions.")[0] for one in layers if ".attentions." in one}
    pairs = [(other, own) for own, other in fixed.items()]
    for name in layers:
        match = re.fullmatch(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", name)
        if match is None:
            continue
        side, block, kind, place, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
        tail = inside.get(rest, rest) if kind == "resnets" else rest
        if side == "mid":
            start = f"middle_block_{1 if kind == 'attentions' else 2 * place}"
        elif kind.endswith("samplers"):
            at = (1 if side == "down" else 0) + block * (depth + 1) + depth
            up = 2 if f"up_blocks.{block}" in attended else 1
            start = f"input_blocks_{at}_0" if side == "down" else f"output_blocks_{at}_{up}"
            tail = "op" if side == "down" else "conv"
        else:
            at = (1 if side == "down" else 0) + block * (depth + 1) + place
            start = f"{'input' if side == 'down' else 'output'}_blocks_{at}_{int(kind == 'attentions')}"
        pairs.append((f"{start}_{tail}".replace(".", "_"), _flat(name)))
    return pairs


def _check(name: str, target: _Target, family: str) -> int:
    """The rank. Raises InvalidRequest for factors that are not of the layer's shape or too many."""
    down, up, layer = target.factors.down, target.factors.up, target.layer
    if down is None or up is None:
        raise refused(f"lacks one of the two factors of {name}")
    rank = down.shape[0] if down.shape else 0
    if not 1 <= rank <= MAX_RANK:
        raise refused(f"has rank {rank} at {name}; at most {MAX_RANK} is served")
    shapes = (down.size, up.size, up.shape[0] if up.shape else 0)
    if shapes != (rank * layer.down_width, rank * layer.outputs, layer.outputs):
        raise refused(
            f"has factors of the shapes {list(down.shape)} and {list(up.shape)} at {name}, where model '{family}' has "
            f"{layer.outputs} x {layer.inputs}{f' x {layer.kernel}²' if layer.kernel > 1 else ''}: "
            "it is for another kind of model"
        )
    return rank


def _fill(matrix: Floats, name: str, target: _Target, alphas: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for values that are not finite or too large, once they are scaled."""
    factors, layer = target.factors, target.layer
    assert factors.down is not None
    assert factors.up is not None
    rank = factors.down.shape[0]
    alpha = _peft_alpha(alphas, target.part, layer.name, rank) if factors.alpha is None else factors.alpha
    with np.errstate(over="ignore", invalid="ignore"):
        down = factors.down.array().astype(np.float32).reshape(rank, layer.inputs, layer.kernel, layer.kernel)
        up = factors.up.array().astype(np.float32).reshape(layer.outputs, rank) * np.float32(alpha / rank)
        usable = all(np.abs(factor).max(initial=0) <= MAX_VALUE for factor in (down, up))
    if not usable:
        raise refused(f"has values that are not finite or beyond {MAX_VALUE:g} at {name}")
    start, middle = target.offset, target.offset + layer.down_width
    matrix[:rank, start:middle] = down.transpose(0, 2, 3, 1).reshape(rank, -1)
    matrix[:rank, middle : middle + layer.outputs] = up.T


def _peft_alphas(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """PEFT's configuration as diffusers keeps it in a file's metadata: ``unet.lora_alpha`` and so on."""
    try:
        content = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _peft_alpha(alphas: Mapping[str, Any], part: str, layer: str, rank: int) -> float:
    """Without a configuration a LoRA is added as it is: alpha is its rank. Raises InvalidRequest for one that is no
    finite number."""
    patterns, alpha = alphas.get(f"{part}.alpha_pattern"), alphas.get(f"{part}.lora_alpha")
    if isinstance(patterns, dict):
        words = layer.split(".")
        endings = (".".join(words[i:]) for i in range(len(words)))
        alpha = next((patterns[ending] for ending in endings if ending in patterns), alpha)
    if alpha is None:
        return float(rank)
    try:
        value = float(alpha) if isinstance(alpha, int | float) else math.nan
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise refused(f"has an alpha for {layer} in its metadata that is no finite number")
    return value * math.sqrt(rank) if alphas.get(f"{part}.use_rslora") else value
