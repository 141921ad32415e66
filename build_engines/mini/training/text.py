"""The text encoder: CLIP's transformer over words whose embeddings begin as public word vectors.

A word's embedding is a trained function of its frozen vector, the same for all words, plus a trained residual of its
own where captions use the word. The residual is dropped at random, so that the function alone has to say what a word
means, as it must for words that no caption has. ``shipped`` folds both into a plain embedding table: the vectors
themselves are not in it. A word that no caption has gets the embedding of the one that stands in for it, where there
is one (``corpus.neighbours``).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from build_engines.mini.corpus.vectors import DIMENSIONS, Vocabulary
from build_engines.mini.tokenizer import BOS, EOS, PAD, SPECIAL
from build_engines.mini.training.presets import DenoiserPreset

TOKENS = 16
"""Length of a caption in tokens, with its beginning and end; longer ones are cut."""
_RESIDUAL_DROPOUT = 0.25
_STD = 0.3
"""Standard deviation of embeddings at the beginning."""


class WordEmbedding(nn.Module):
    """Token ids (B, T) to embeddings (B, T, width). Tokens: ``SPECIAL``, then the vocabulary's words; the first
    ``own`` have residuals."""

    vectors: Tensor

    def __init__(self, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        special = torch.zeros(len(SPECIAL), DIMENSIONS)
        self.register_buffer("vectors", torch.cat([special, torch.from_numpy(vocabulary.vectors)]), persistent=False)
        self.own = len(SPECIAL) + vocabulary.captioned
        self.direct = nn.Linear(DIMENSIONS, width)
        self.hidden = nn.Sequential(nn.Linear(DIMENSIONS, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.residual = nn.Embedding(self.own + 1, width)
        nn.init.normal_(self.direct.weight, std=_STD)
        nn.init.zeros_(self.direct.bias)
        nn.init.normal_(self.residual.weight, std=0.02)
        with torch.no_grad():
            without = self.vectors[: self.own].abs().sum(1) == 0
            self.residual.weight[: self.own][without] = torch.randn(int(without.sum()), width) * _STD

    def meant(self, ids: Tensor) -> Tensor:
        """What the function of vectors makes of tokens (N,): (N, width)."""
        vectors = self.vectors[ids]
        made: Tensor = self.direct(vectors) + self.hidden(vectors)
        return made

    def forward(self, ids: Tensor) -> Tensor:
        used, places = torch.unique(ids, return_inverse=True)  # of which a batch of captions has few
        meant = self.meant(used)[places]
        own = self.residual(ids.clamp(max=self.own)) * (ids < self.own)[..., None]
        if self.training:
            has_vector = (self.vectors[used].abs().sum(-1) > 0)[places][..., None]
            kept = torch.rand(ids.shape, device=ids.device)[..., None] >= _RESIDUAL_DROPOUT
            own = own * (kept | ~has_vector)
        made: Tensor = meant + own
        return made


def make_text_encoder(preset: DenoiserPreset, vocabulary: Vocabulary) -> CLIPTextModel:
    """CLIP's text transformer with ``WordEmbedding``; the denoiser attends to its last hidden state."""
    config = CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(vocabulary.words),
        hidden_size=preset.text_width,
        intermediate_size=4 * preset.text_width,
        projection_dim=preset.text_width,
        num_hidden_layers=preset.text_layers,
        num_attention_heads=preset.text_heads,
        max_position_embeddings=TOKENS,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attn_implementation="eager",
    )
    model = CLIPTextModel(config)
    model.embeddings.token_embedding = WordEmbedding(vocabulary, preset.text_width)
    return model


@torch.no_grad()
def shipped(
    model: CLIPTextModel, stand_ins: Mapping[int, int] | None = None, kept: Sequence[int] | None = None
) -> CLIPTextModel:
    """A copy with a plain embedding table, as transformers saves and loads it. ``stand_ins``: tokens, and the token
    whose embedding each of them gets. ``kept``: the tokens that remain, all when None."""
    copied = copy.deepcopy(model).eval()
    table = copied.embeddings.token_embedding(torch.arange(copied.config.vocab_size)[None])[0]
    for token, other in (stand_ins or {}).items():
        table[token] = table[other]
    table = table if kept is None else table[list(kept)]
    copied.config.vocab_size = len(table)
    copied.embeddings.token_embedding = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
    return copied
