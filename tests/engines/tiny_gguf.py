"""A GGUF file of a language model of the llama class with random weights and a vocabulary of bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HIDDEN, HEADS, LAYERS, CONTEXT = 32, 64, 4, 2, 8192
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
U32, F32, TEXT, LIST, I32 = 4, 6, 8, 9, 5
ALIGNMENT = 32


def write_gguf(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    tensors = {"token_embd.weight": weights(len(TOKENS), WIDTH), "output_norm.weight": np.ones(WIDTH, np.float32),
               "output.weight": weights(len(TOKENS), WIDTH)}  # fmt: skip
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        tensors |= {f"{name}{part}_norm.weight": np.ones(WIDTH, np.float32) for part in ("attn", "ffn")}
        tensors |= {f"{name}attn_{part}.weight": weights(WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        tensors |= {f"{name}ffn_{part}.weight": weights(HIDDEN, WIDTH) for part in ("gate", "up")}
        tensors[f"{name}ffn_down.weight"] = weights(WIDTH, HIDDEN)
    kinds = [2, 3, 3, *(6 for _ in range(256)), 1]
    entries: list[tuple[str, int, Any]] = [
        ("general.architecture", TEXT, "llama"),
        ("general.name", TEXT, "tiny"),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, WIDTH),
        ("llama.block_count", U32, LAYERS),
        ("llama.feed_forward_length", U32, HIDDEN),
        ("llama.attention.head_count", U32, HEADS),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, WIDTH // HEADS),
        ("tokenizer.ggml.model", TEXT, "llama"),
        ("tokenizer.ggml.tokens", LIST, (TEXT, TOKENS)),
        ("tokenizer.ggml.scores", LIST, (F32, [0.0] * len(TOKENS))),
        ("tokenizer.ggml.token_type", LIST, (I32, kinds)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    header += b"".join(_text(key) + struct.pack("<I", kind) + _value(kind, value) for key, kind, value in entries)
    offset = 0
    for name, array in tensors.items():
        axes = array.shape[::-1]
        header += _text(name) + struct.pack("<I", len(axes)) + struct.pack(f"<{len(axes)}Q", *axes)
        header += struct.pack("<IQ", 0, offset)
        offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    data = b"".join(array.tobytes() + bytes(-array.nbytes % ALIGNMENT) for array in tensors.values())
    path.write_bytes(header + bytes(-len(header) % ALIGNMENT) + data)
    return path


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(kind: int, value: Any) -> bytes:
    if kind == TEXT:
        return _text(value)
    if kind == LIST:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(_value(inner, item) for item in items)
    return struct.pack({U32: "<I", F32: "<f", I32: "<i"}[kind], value)
