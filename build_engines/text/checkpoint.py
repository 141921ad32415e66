"""An encoder of a checkpoint of `transformers`: a sentence embedding, or the body of a sequence classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from build_engines.embed.checkpoint import read_json, read_tokenizer
from build_engines.illustrate.refusal import Refused
from build_engines.text.engine import SCALE, Encoder

MAX_TOKENS = 128


class Pooled(nn.Module):
    """Token ids (B, tokens) to vectors (B, width) of length SCALE: the mean of the tokens, or the first token."""

    def __init__(self, model: Any, pad: int, first: bool) -> None:
        super().__init__()
        self.model = model
        self.pad = pad
        self.first = first

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != self.pad).long()
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        pooled = states[:, 0] if self.first else (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        return SCALE * F.normalize(pooled, dim=1)


def load(folder: Path) -> Encoder:
    """Raises Refused with the reason for what is no encoder of texts."""
    if not list(folder.glob("*.safetensors")):
        raise Refused(f"{folder.name} has no .safetensors; a pickle can run any code and is not opened")
    config = read_json(folder, "config.json")
    model = _model(folder)
    tokenizer = read_tokenizer(folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = tokenizer.get_vocab_size()
    if words > model.config.vocab_size:
        raise Refused(f"its tokenizer has {words} tokens, its network knows {model.config.vocab_size}")
    pad = config.get("pad_token_id")
    if not isinstance(pad, int):
        raise Refused("config.json states no pad_token_id")
    pooling = read_json(folder / "1_Pooling", "config.json", {})
    tokens = min(MAX_TOKENS, int(config.get("max_position_embeddings", MAX_TOKENS)) - (pad + 1))
    stated = read_json(folder, "tokenizer_config.json", {})
    network = Pooled(model, pad, first=bool(pooling.get("pooling_mode_cls_token"))).eval()
    return Encoder(network, network, tokenizer, tokens, pad, None, lowercase=bool(stated.get("do_lower_case")))


def _model(folder: Path) -> Any:
    import transformers

    try:
        loaded = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
            attn_implementation="eager",
        )  # fmt: skip
    except Exception as error:  # whatever the libraries raise for other files
        raise Refused(f"{folder.name} cannot be loaded: {error}") from error
    if getattr(loaded.config, "is_encoder_decoder", False) or not hasattr(loaded.config, "vocab_size"):
        raise Refused(f"{folder.name} is no encoder of texts")
    return loaded.eval()
