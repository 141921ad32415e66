"""`TextConditioner`: prompts to what the UNet attends to, by the text encoders of one family."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.tokens import PromptTokenizer, PromptTokens, encode_all, joined
from serve.ensembles import measurements
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.adapters import NO_ADAPTERS, AdapterSlot, adapter_inputs
from serve.ensembles.illustrator.illustration import ILLUSTRATE, Parameters

Floats = npt.NDArray[np.float32]

PROMPT_CACHE_SIZE = 64
PROMPT, NEGATIVE_PROMPT = "prompt", "negative_prompt"


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Text conditioning of one prompt. ``embeds``: (tokens, D); SDXL's ``pooled``: (D2,)."""

    embeds: Floats
    pooled: Floats | None


@dataclass(frozen=True, eq=False)
class PromptText:
    """A prompt, and the LoRAs that act on its encoding."""

    text: str
    loras: Sequence[AdapterSlot] = NO_ADAPTERS


@dataclass(frozen=True, eq=False)
class EncodedPrompts:
    """By the names of the prompts. ``tokens``: of each, without padding. All have as many rows of embeddings."""

    conditions: Mapping[str, Conditioning]
    tokens: Mapping[str, int]


class TextConditioner:
    """Encodings of the last prompts are cached."""

    def __init__(self, family: Family, repository: Path, calls: EngineCalls) -> None:
        """Raises ``InvalidRequest`` if a tokenizer in ``repository`` does not match its text encoder."""
        self._family = family
        self._tokenizers = tuple(
            PromptTokenizer.load(repository / encoder.engine / "tokenizer.json", encoder) for encoder in family.text
        )
        self._calls = calls
        self._cache: OrderedDict[bytes, Conditioning] = OrderedDict()

    async def encode(
        self,
        prompts: Mapping[str, PromptText],
        deadline: float,
        versions: Mapping[str, str],
    ) -> EncodedPrompts:
        """``prompts`` by name; those whose name ends in ``negative_prompt`` are for unconditional rows. Raises
        InvalidRequest naming the prompt."""
        encoded = encode_all(self._tokenizers, {name: prompt.text for name, prompt in prompts.items()})
        conditions = await asyncio.gather(
            *(self._encode_prompt(tokens, deadline, versions, prompts[name].loras) for name, tokens in encoded.items())
        )
        named = dict(zip(encoded, conditions, strict=True))
        for name in named:
            if name.endswith(NEGATIVE_PROMPT):
                named[name] = self._unconditional(named[name], prompts[name].text)
        return EncodedPrompts(named, {name: tokens[0].used for name, tokens in encoded.items()})

    def first_tokens(self, prompt: str) -> npt.NDArray[np.int32]:
        """The first chunk of ``prompt`` for the first encoder, (1, tokens)."""
        return self._tokenizers[0].encode(prompt).ids[:1]

    async def _encode_prompt(
        self,
        tokens: list[PromptTokens],
        deadline: float,
        versions: Mapping[str, str],
        loras: Sequence[AdapterSlot] = NO_ADAPTERS,
    ) -> Conditioning:
        """Encode one prompt with every text encoder."""
        key_parts = [part.tobytes() for each in tokens for part in (each.ids, each.weights)]
        key_parts += [f"{lora.number}*{lora.scale}".encode() for lora in loras]
        key = b"|".join([*(versions.get(encoder.engine, "").encode() for encoder in self._family.text), *key_parts])
        if (cached := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return cached
        with measurements.stage(ILLUSTRATE, "encode"):
            outputs = await asyncio.gather(
                *(
                    self._calls.infer(encoder.engine, self._inputs(each, loras), deadline, versions)
                    for encoder, each in zip(self._family.text, tokens, strict=True)
                )
            )
        parts = [joined(output["prompt_embeds"], each.weights) for output, each in zip(outputs, tokens, strict=True)]
        pooled = outputs[-1].get("pooled_prompt_embeds")
        conditioning = Conditioning(np.concatenate(parts, axis=1), None if pooled is None else pooled[0])
        self._cache[key] = conditioning
        while len(self._cache) > PROMPT_CACHE_SIZE:
            self._cache.popitem(last=False)
        return conditioning

    def _inputs(self, tokens: PromptTokens, loras: Sequence[AdapterSlot]) -> dict[str, npt.NDArray[Any]]:
        adapters = adapter_inputs([loras] * len(tokens.ids)) if self._family.adapters else {}
        return {"input_ids": tokens.ids, **adapters}

    def _unconditional(self, negative: Conditioning, prompt: str) -> Conditioning:
        if prompt or not self._family.zeros_for_no_prompt:
            return negative
        pooled = None if negative.pooled is None else np.zeros_like(negative.pooled)
        return Conditioning(np.zeros_like(negative.embeds), pooled)


def constant_inputs(conditions: Sequence[Conditioning], parameters: Parameters) -> dict[str, Floats]:
    """UNet inputs that are constant over all steps, one row per condition."""
    constant = {"encoder_hidden_states": np.stack([c.embeds for c in conditions])}
    pooled = [c.pooled for c in conditions if c.pooled is not None]
    if pooled:
        size = [parameters.height, parameters.width]
        constant["text_embeds"] = np.stack(pooled)
        # SDXL's training order: original size, crop offset, target size (Podell et al. 2023, section 2.2).
        constant["time_ids"] = np.tile(np.array([*size, 0, 0, *size], np.float32), (len(pooled), 1))
    return constant
