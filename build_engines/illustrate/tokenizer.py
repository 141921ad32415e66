"""The checkpoint's tokenizers as ``tokenizer.json``, which the ``tokenizers`` package reads when serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from build_engines.illustrate.checkpoint import Checkpoint
from build_engines.illustrate.refusal import Refused


@dataclass(frozen=True)
class Tokenizer:
    """``json`` neither cuts nor pads: longer prompts are served in chunks of ``max_tokens``, of ``bos`` to ``eos``."""

    json: str
    max_tokens: int
    bos: int
    eos: int
    pad: int
    vocabulary: int


def read_tokenizer(checkpoint: Checkpoint, encoder: str) -> Tokenizer:
    """The tokenizer of the text encoder ``encoder``. Raises Refused when it does not fit the encoder."""
    from transformers import AutoTokenizer

    folder = checkpoint.folder(encoder.replace("text_encoder", "tokenizer"))
    if not folder.is_dir():
        raise Refused(f"the checkpoint has no {folder.name}")
    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"{folder.name} cannot be loaded: {error}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise Refused(f"{folder.name} is of the class {type(loaded).__name__}, which has no tokenizer.json")
    backend.no_truncation()
    backend.no_padding()
    ids = {kind: _special(loaded, folder.name, kind) for kind in ("bos", "eos", "pad")}
    tokenizer = Tokenizer(backend.to_str(), int(loaded.model_max_length), vocabulary=len(loaded), **ids)
    _check(tokenizer, checkpoint.config(encoder), folder.name)
    return tokenizer


def _special(loaded: Any, name: str, kind: str) -> int:
    value = getattr(loaded, f"{kind}_token_id")
    if value is None:
        raise Refused(f"{name} has no {kind}_token")
    return int(value)


def _check(tokenizer: Tokenizer, config: dict[str, Any], name: str) -> None:
    positions = int(config.get("max_position_embeddings", 77))
    if not 3 <= tokenizer.max_tokens <= positions:
        raise Refused(f"{name}: model_max_length is {tokenizer.max_tokens}, its text encoder has {positions} positions")
    words = int(config["vocab_size"])
    if tokenizer.vocabulary > words:
        raise Refused(f"{name} has {tokenizer.vocabulary} tokens, its text encoder knows {words}")
