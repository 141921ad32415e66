"""Inputs that look like real ones, to compare an engine with its network and to time it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build_engines.export.runtimes import Arrays
from build_engines.illustrate.contracts import Engine, Lengths
from build_engines.illustrate.tokenizer import Tokenizer


@dataclass(frozen=True)
class Examples:
    """``tokenizer`` belongs to a text encoder, ``timesteps`` is how many the UNet was trained with."""

    engine: Engine
    tokenizer: Tokenizer
    timesteps: int

    def parity(self) -> list[Arrays]:
        """Batches of 1 and 3; the smallest, an odd oblong and the default size; one and two chunks of tokens."""
        engine = self.engine
        cases = ((1, engine.smallest), (3, engine.odd), (1, engine.typical))
        return [self.make(batch, lengths, seed) for seed, (batch, lengths) in enumerate(cases)]

    def traced(self) -> Arrays:
        """Two pictures of odd sides: what is traced on them holds for every batch and size."""
        return self.make(2, self.engine.odd, 0)

    def timing(self) -> dict[str, Arrays]:
        """One request, and two, at the default size."""
        largest = self.engine.contract.max_batch_size
        return {f"batch_{b}": self.make(b, self.engine.typical, b) for b in (1, 2) if b <= largest}

    def make(self, batch: int, lengths: Lengths, seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        made: Arrays = {}
        for tensor in self.engine.contract.inputs:
            shape = (batch, *tensor.shape(lengths))
            if tensor.name == "input_ids":
                made[tensor.name] = self._prompts(shape, rng)
            elif tensor.name == "timestep":
                made[tensor.name] = rng.uniform(0, self.timesteps - 1, shape).astype(np.float32)
            elif tensor.name == "time_ids":
                made[tensor.name] = (64 * rng.integers(0, 17, shape)).astype(np.float32)
            elif tensor.data_type == "TYPE_UINT8":
                made[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8)
            else:
                made[tensor.name] = rng.standard_normal(shape, dtype=np.float32)
        return made

    def _prompts(self, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.generic]:
        """Random words between ``bos`` and ``eos``, then padding, as serving sends them."""
        words = self.tokenizer
        other = np.setdiff1d(np.arange(words.vocabulary), [words.bos, words.eos, words.pad])
        ids = rng.choice(other if other.size else np.array([words.bos]), shape)
        ids[:, 0] = words.bos
        for row, end in zip(ids, rng.integers(1, shape[1], shape[0]), strict=True):
            row[end:] = words.pad
            row[end] = words.eos
        return ids.astype(np.int32)
