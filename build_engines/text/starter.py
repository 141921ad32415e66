"""The starter's encoder: the mean of small word vectors of nine languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from build_engines.text.engine import PAD, TOKENS, UNKNOWN, Encoder, MeanOfWords
from build_engines.text.vectors import read_words


def tokenizer_of(words: Sequence[str]) -> Tokenizer:
    """Whole words in lower case; everything else is unknown."""
    vocabulary = {word: place for place, word in enumerate(("<pad>", "<unk>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[\W\d_]+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def starter(folder: Path) -> Encoder:
    """Of the packages in ``folder``."""
    words = read_words(folder)
    network, written = MeanOfWords(words, quantised=False), MeanOfWords(words, quantised=True)
    return Encoder(network.eval(), written.eval(), tokenizer_of(words.words), TOKENS, PAD, UNKNOWN, lowercase=False)
