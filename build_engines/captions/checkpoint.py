"""Reads a BLIP-class folder of `transformers`: picture tower, text decoder, tokenizer, preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from build_engines.embed.checkpoint import PictureInput, Pictures, read_json, read_preprocessing, read_tokenizer
from build_engines.illustrate.refusal import Refused


@dataclass(frozen=True)
class LoadedCaptioner:
    """``bos`` begins every text, ``eos`` ends it; ``regions`` vectors of ``width`` numbers say what a picture shows."""

    model: Any
    pictures: Pictures
    tokenizer: Tokenizer
    bos: int
    eos: int
    vocabulary: int
    positions: int
    regions: int
    width: int


class PictureTower(PictureInput):
    """8-bit pictures (B, side, side, 3) to states (B, regions, width)."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model(pixel_values=self.pixels(image)).last_hidden_state
        return states


class NextToken(nn.Module):
    """Token ids (B, T) and states of their pictures (B, regions, width) to logits of the next token (B, vocabulary)."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        later = (places[None, :] > places[:, None]).to(states.dtype)
        # A finished mask in four dimensions is taken as it is; the library's own would be traced as a constant.
        mask = (later * torch.finfo(states.dtype).min)[None, None].expand(ids.shape[0], 1, -1, -1)
        found = self.decoder(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places[None],
            encoder_hidden_states=states,
            encoder_attention_mask=None,
            use_cache=False,
            is_decoder=True,
        )
        logits: torch.Tensor = found.logits[:, -1]
        return logits


def load(folder: Path) -> LoadedCaptioner:
    """Raises Refused with the reason for a folder of another kind."""
    config = read_json(folder, "config.json")
    if config.get("model_type") != "blip":
        raise Refused(f"config.json states model_type {config.get('model_type')!a}; BLIP's captioners (blip) are read")
    if not list(folder.glob("*.safetensors")):
        raise Refused(f"{folder.name} has no .safetensors; a pickle can run any code and is not opened")
    from transformers import BlipForConditionalGeneration

    try:
        model = BlipForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    except Exception as error:  # whatever the libraries raise for other files
        raise Refused(f"{folder.name} cannot be loaded: {error}") from error
    text, vision = model.config.text_config, model.config.vision_config
    tokenizer = read_tokenizer(folder)
    if tokenizer.get_vocab_size() > text.vocab_size:
        raise Refused(f"its tokenizer has {tokenizer.get_vocab_size()} tokens, its decoder knows {text.vocab_size}")
    pictures = read_preprocessing(read_json(folder, "preprocessor_config.json"))
    if pictures.side_px != vision.image_size:
        raise Refused(
            f"preprocessor_config.json states {pictures.side_px} px, its picture tower takes {vision.image_size} px"
        )
    return LoadedCaptioner(
        model=model,
        pictures=pictures,
        tokenizer=tokenizer,
        bos=int(text.bos_token_id),
        eos=int(text.sep_token_id),
        vocabulary=int(text.vocab_size),
        positions=int(text.max_position_embeddings),
        regions=(vision.image_size // vision.patch_size) ** 2 + 1,
        width=int(vision.hidden_size),
    )
