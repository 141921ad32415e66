"""The weights that training goes on from where no folder of an earlier run is left: losing it costs minutes, not days.

They are those of the engines that ship, and the function of word vectors, which the engines' table of embeddings has
swallowed: `build_engines/mini/weights/words.safetensors`. The optimiser's state is not kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn

from build_engines.mini.engine_weights import fill, weights_of
from build_engines.mini.tokenizer import UNKNOWN
from build_engines.mini.training.flow import ConditionedDenoiser
from build_engines.mini.training.judges import CaptionJudge
from build_engines.mini.training.networks import RgbaAutoencoder
from build_engines.mini.training.text import WordEmbedding
from serve.diffusion.family import manifest_of

WORDS = Path(__file__).parents[1] / "weights" / "words.safetensors"
_TABLE = "embeddings.token_embedding"


@dataclass(frozen=True)
class KeptWeights:
    """Those of the family ``name`` in ``repository``; ``words``: the file of the function of word vectors."""

    repository: Path
    words: Path
    name: str = "pictogram"

    def __bool__(self) -> bool:
        """Whether they are there."""
        return self.words.is_file() and manifest_of(self.repository, self.name).is_file()

    @property
    def has_judge(self) -> bool:
        return (self.repository / f"{self.name}_judge").is_dir()

    def samples(self, stage: str) -> int:
        """How many pictures a stage of training has seen."""
        manifest = json.loads(manifest_of(self.repository, self.name).read_text())
        return int(manifest["origin"].get("samples", {}).get(stage, 0))

    def load_autoencoder(self, model: RgbaAutoencoder) -> None:
        """Raises ValueError for another network's."""
        fill(model.encoder, self._weights("vae_encoder"), "vae.encoder.")
        fill(model.decoder, self._weights("vae_decoder"), "vae.decoder.")

    def load_denoiser(self, model: ConditionedDenoiser, tokenizer: Tokenizer) -> None:
        """Words that had no caption begin as their stand-ins. Raises ValueError for another network's."""
        network: nn.Module = getattr(model.denoiser, "network", model.denoiser)
        fill(network, self._weights("unet"), "unet.")
        text = self._weights("text_encoder")
        fill(model.text_encoder, text, "encoder.", [_TABLE])
        words = _embedding(model)
        words.load_state_dict(load_file(self.words), strict=False)
        shipped = self._tokens()
        table = torch.from_numpy(text[f"encoder.{_TABLE}.weight"]).to(words.vectors.device)
        own = {token: shipped[word] for word, token in tokenizer.get_vocab().items() if word in shipped}
        known = torch.tensor([token for token in sorted(own) if token < words.own], device=table.device)
        with torch.no_grad():
            meant = words.meant(known)
            words.residual.weight[known] = table[[own[int(token)] for token in known]] - meant

    def judge(self, tokenizer: Tokenizer) -> CaptionJudge:
        """The judge of candidates, with a plain table of the words of ``tokenizer``; those that it does not know are
        the unknown word's."""
        weights, shipped, vocabulary = self._weights("judge"), self._tokens(), tokenizer.get_vocab()
        made: CaptionJudge = CaptionJudge(vocab_size=len(vocabulary))
        words = "captions.words"
        fill(made, weights, "judge.", [words, "sharpness"])
        table = torch.from_numpy(np.asarray(weights[f"judge.{words}.weight"], np.float32))
        order = sorted(vocabulary, key=vocabulary.__getitem__)
        rows = table[[shipped.get(word, UNKNOWN) for word in order]]
        made.captions.words = nn.Embedding(len(rows), rows.shape[1], _weight=rows)
        made.eval()
        return made

    def _tokens(self) -> dict[str, int]:
        tokenizer = Tokenizer.from_file(str(self.repository / f"{self.name}_text_encoder" / "tokenizer.json"))
        return tokenizer.get_vocab()

    def save(self, model: ConditionedDenoiser) -> None:
        """Writes what the engines of ``model`` do not hold."""
        self.words.parent.mkdir(parents=True, exist_ok=True)
        kept = {n: v.half() for n, v in _embedding(model).state_dict().items() if not n.startswith("residual")}
        save_file(kept, str(self.words))

    def _weights(self, part: str) -> dict[str, Any]:
        return weights_of(self.repository / f"{self.name}_{part}" / "1" / "model.onnx")


def _embedding(model: ConditionedDenoiser) -> WordEmbedding:
    words: nn.Module = model.text_encoder.embeddings.token_embedding
    if not isinstance(words, WordEmbedding):
        raise TypeError("the embeddings of words are folded into a table")
    return words
