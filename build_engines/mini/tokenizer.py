"""The family's own tokenizer: whole words of the captions' vocabulary, everything else is ``<unk>``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 24
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, BOS, EOS, UNKNOWN = range(4)
UNKNOWN_WORD = SPECIAL[UNKNOWN]


def make_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Lower case; punctuation and the articles "a", "an", "the" are dropped; ``<start> words <end>``."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN_WORD))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\w<>]+|_"), " "),
            normalizers.Replace(Regex(r"\b(a|an|the)\b"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", BOS), ("<end>", EOS)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, length: int = MAX_TOKENS) -> None:
    """Writes what ``PreTrainedTokenizerFast.from_pretrained`` loads."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def encode(tokenizer: Tokenizer, captions: Sequence[str], length: int = MAX_TOKENS) -> npt.NDArray[np.int64]:
    """Token ids (B, length), padded, and cut to fit."""
    ids = np.full((len(captions), length), PAD, np.int64)
    for row, found in zip(ids, tokenizer.encode_batch_fast(list(captions)), strict=True):
        kept = found.ids if len(found.ids) <= length else [*found.ids[: length - 1], EOS]
        row[: len(kept)] = kept
    return ids
