"""`TextEngine`: concepts, mood and sentiment of a prompt by a learned text encoder, on top of the rules.

The engine (``python -m build_engines train text``, or ``text`` for a checkpoint) turns token ids into logits: of the
six concepts, of no mood and the five moods, and of the three sentiments. What the rules found is added by a matrix of
the manifest, which was fitted together with the engine. It runs in the calling process, on one core.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import EngineUnavailable

if TYPE_CHECKING:  # opened by the first prompt
    import onnxruntime
    from tokenizers import Tokenizer

CONCEPT_LOGITS, MOOD_LOGITS, SENTIMENT_LOGITS = slice(0, 6), slice(6, 12), slice(12, 15)
LOGITS = 15
RULES = 13
"""What the rules found: confidence of each concept and mood, the sentiment's score and its size."""
MAX_CHARACTERS = 2000
"""Of a prompt that the engine reads."""


@dataclass(frozen=True)
class Judgement:
    """Probabilities: of each concept, of each mood (what is missing to 1: none), of each sentiment."""

    concepts: NDArray[np.float64]
    moods: NDArray[np.float64]
    sentiments: NDArray[np.float64]


class TextEngine:
    """Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """``folder``: of the engine. Raises EngineUnavailable for files that cannot be used."""
        from tokenizers import Tokenizer

        self.name = folder.name
        self._file = folder / "1" / "model.onnx"
        try:
            stated: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["prompts"]
            self._matrix = np.asarray(stated["rules"], np.float64)
            self._tokens, self._pad = int(stated["tokens"]), int(stated["pad_id"])
            self._lowercase = bool(stated["lowercase"])
            self._unknown = stated["unknown_id"]
            self._tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineUnavailable(f"engine '{self.name}' cannot be used ({type(error).__name__})") from error
        if self._matrix.shape != (RULES, LOGITS):
            raise EngineUnavailable(f"engine '{self.name}' is for other categories of the analysis")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(str(self._file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own classes
            raise EngineUnavailable(f"engine '{self.name}' cannot be opened ({type(error).__name__})") from error
        return session

    def judge(self, prompt: str, rules: Sequence[float]) -> Judgement | None:
        """``rules``: RULES numbers. None where the engine knows no word of the prompt."""
        text = prompt[:MAX_CHARACTERS]
        found = tokens_of(self._tokenizer, text.lower() if self._lowercase else text, self._unknown, self._tokens)
        if not found:
            return None
        ids = np.full((1, self._tokens), self._pad, np.int64)
        ids[0, : len(found)] = found
        logits = np.asarray(self._session.run(None, {"ids": ids})[0][0], np.float64)
        return judged(logits + np.asarray(rules, np.float64) @ self._matrix)


def tokens_of(tokenizer: Tokenizer, text: str, unknown: int | None, most: int) -> list[int]:
    """At most ``most`` of the tokens of ``text``, the last one among them, without ``unknown``."""
    found: list[int] = [one for one in tokenizer.encode(text).ids if one != unknown]
    return found if len(found) <= most else [*found[: most - 1], found[-1]]


def judged(logits: NDArray[np.float64]) -> Judgement:
    """Of LOGITS numbers."""
    moods = _softmax(logits[MOOD_LOGITS])[1:]
    concepts = (1 + np.tanh(logits[CONCEPT_LOGITS] / 2)) / 2  # the logistic function, for any size
    return Judgement(concepts, moods, _softmax(logits[SENTIMENT_LOGITS]))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())
