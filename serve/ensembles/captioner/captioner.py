"""`Captioner`: what pictures show, in words: by engines of BLIP-class checkpoints, which the Illustrator's Triton
serves, by the nearest words of the image-text embedding, which runs in the calling process, and by a language model
that sees pictures.

Each step of the text decoder is one request to its engine, so that Triton merges the steps of all pictures under way.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from serve.engines.service import InferenceClient
from serve.ensembles.captioner.decoding import beam_search
from serve.ensembles.captioner.describer import Describer
from serve.ensembles.captioner.fusion import Candidate, Scored, fused, scored
from serve.ensembles.captioner.options import CaptionOptions
from serve.ensembles.captioner.tags import Described, Tag, Tagger, described
from serve.ensembles.embedder import Embedder, Preprocessing, embedder_in, on_white, prepared_pixels
from serve.errors import DeadlineExceeded, EngineFailure, InvalidRequest, NotFound, Unsupported
from serve.settings import IllustratorSettings

HOW_TO_BUILD = "python -m build_engines caption --source FOLDER"
MAX_PROMPT_TOKENS = 16
LATE = "there was not enough time to caption the picture"
_LANGUAGE_MODEL_TOKENS = 4
"""For each token of an engine: they are smaller, and some think aloud at first."""


@dataclass(frozen=True)
class CaptionEngines:
    """One captioning model: ``NAME_picture`` and its ``decoder``."""

    name: str
    decoder: str
    like: Preprocessing
    bos: int
    eos: int
    max_tokens: int
    tokenizer: Tokenizer = field(compare=False)

    @property
    def picture(self) -> str:
        return f"{self.name}_picture"


@dataclass(frozen=True)
class Caption:
    """``text``: the best candidate, completed by likely tags; empty where no model had a word for the picture."""

    text: str
    candidates: tuple[Scored, ...]
    tags: tuple[Tag, ...]
    models: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "caption": self.text,
            "score": round(self.candidates[0].score, 4) if self.candidates else 0.0,
            "candidates": [
                {
                    "text": one.candidate.text,
                    "model": one.candidate.model,
                    "confidence": _rounded(one.candidate.confidence),
                    "likeness": _rounded(one.candidate.likeness),
                    "fit": _rounded(one.fit),
                    "agreement": _rounded(one.agreement),
                    "score": round(one.score, 4),
                }
                for one in self.candidates
            ],
            "tags": [
                {**vars(tag), "score": round(tag.score, 4), "probability": round(tag.probability, 4)}
                for tag in self.tags
            ],
            "models": list(self.models),
            "seconds": round(self.seconds, 3),
        }


def captioning_engines_in(repository: Path) -> list[CaptionEngines]:
    """By name. Of models whose parts are not all there, none."""
    found = []
    for path in sorted(repository.glob("*_picture/manifest.json")):
        stated = json.loads(path.read_text()).get("caption")
        if stated is None or not (repository / stated["decoder"] / "config.pbtxt").is_file():
            continue
        tokenizer = Tokenizer.from_str((path.parent / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        like = Preprocessing.of({**stated, "tokens": stated["max_tokens"]})
        name = path.parent.name.removesuffix("_picture")
        found.append(
            CaptionEngines(name, stated["decoder"], like, stated["bos"], stated["eos"], stated["max_tokens"], tokenizer)
        )
    return found


def open_captioner(
    settings: IllustratorSettings, client: InferenceClient | None, describer: Describer | None
) -> Captioner:
    """Of a site: the captioning engines of its repository, the embedding that ranks, its language model that sees."""
    repository, ranking = settings.model_repository, settings.ranking_engines
    embedder = None if ranking is None else embedder_in(repository, ranking)
    return Captioner(captioning_engines_in(repository), client, embedder, describer)


class Captioner:
    """``client`` None: no engine captions. Raises nothing when there is no model; `check` does."""

    def __init__(
        self,
        engines: Sequence[CaptionEngines],
        client: InferenceClient | None,
        embedder: Embedder | None,
        describer: Describer | None = None,
    ) -> None:
        self._engines = {one.name: one for one in engines} if client is not None else {}
        self._client = client
        self._tagger = None if embedder is None else Tagger(embedder)
        self._describer = describer

    @property
    def models(self) -> tuple[str, ...]:
        """The engines' names, then those of the embedding and of the language model."""
        embedding = () if self._tagger is None else (self._tagger.embedder.name,)
        seeing = () if self._describer is None else (self._describer.model.name,)
        return tuple(dict.fromkeys((*self._engines, *embedding, *seeing)))

    def check(self, options: CaptionOptions) -> None:
        """Raises Unsupported where there is no model at all, NotFound for one that there is not."""
        if not self.models:
            raise Unsupported(f"there are no engines that caption pictures; {HOW_TO_BUILD} adds one", "models")
        for name in options.models:
            if name not in self.models:
                there = ", ".join(self.models)
                raise NotFound(f"no model {name[:64]!a} captions here; there are: {there}. {HOW_TO_BUILD}", "models")

    async def caption(self, data: bytes, options: CaptionOptions) -> Caption:
        """``data``: an encoded picture. Raises as `check`, BadImage, DeadlineExceeded, ChatFailed, InvalidRequest with
        ``prompt``, and errors of the engines.

        One model that fails fails the caption: a fused text would otherwise depend on what was up.
        """
        self.check(options)
        began, deadline = time.monotonic(), time.monotonic() + options.timeout_s
        wanted = options.models or self.models
        seeing = self._describer if self._describer and self._describer.model.name in wanted else None
        rgb = await asyncio.to_thread(on_white, data)
        texts = await asyncio.gather(
            *(self._said(self._engines[name], rgb, options, deadline) for name in wanted if name in self._engines),
            *([self._described(seeing, rgb, options, deadline)] if seeing else []),
        )
        candidates = [one for some in texts for one in some]
        tags: Sequence[Tag] = ()
        if self._tagger is not None:
            tags, own, candidates = await asyncio.to_thread(_embedded, self._tagger, rgb, candidates)
            if own is not None and self._tagger.embedder.name in wanted:
                candidates.append(own)
        scale = 1.0 if self._tagger is None else self._tagger.embedder.logit_scale
        ranked = scored(candidates, scale, options.weights)
        text = fused(ranked[0].candidate.text if ranked else "", tags)
        return Caption(text, tuple(ranked), tuple(tags), tuple(wanted), time.monotonic() - began)

    async def _described(
        self, describer: Describer, rgb: npt.NDArray[np.uint8], options: CaptionOptions, deadline: float
    ) -> list[Candidate]:
        """That of the language model, which states no confidence."""
        try:
            async with asyncio.timeout(_left(deadline)):
                text = await describer.caption(rgb, options.prompt, _LANGUAGE_MODEL_TOKENS * options.max_tokens)
        except TimeoutError:
            raise DeadlineExceeded(LATE) from None
        return [Candidate(text, describer.model.name, None)]

    async def _said(
        self, engines: CaptionEngines, rgb: npt.NDArray[np.uint8], options: CaptionOptions, deadline: float
    ) -> list[Candidate]:
        """The texts of one model, the likeliest first."""
        assert self._client is not None
        image = await asyncio.to_thread(prepared_pixels, rgb, engines.like)
        states = (await self._client.infer(engines.picture, {"image": image[None]}, timeout_s=_left(deadline)))[
            "states"
        ]
        client = self._client

        async def next_logits(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            rows = np.repeat(states, len(ids), axis=0)
            answer = await client.infer(engines.decoder, {"ids": ids, "states": rows}, timeout_s=_left(deadline))
            logits = np.asarray(answer["logits"], np.float32)
            if not np.isfinite(logits).all():
                raise EngineFailure(f"engine '{engines.decoder}' gave numbers that are not finite")
            return logits

        prompt = engines.tokenizer.encode(options.prompt, add_special_tokens=False).ids if options.prompt else []
        if len(prompt) > MAX_PROMPT_TOKENS:
            raise InvalidRequest(f"has more than {MAX_PROMPT_TOKENS} tokens", "prompt")
        most = min(engines.max_tokens, 1 + len(prompt) + options.max_tokens)
        found = await beam_search(next_logits, [engines.bos, *prompt], engines.eos, most, options.beams)
        texts: dict[str, Candidate] = {}
        for one in found:
            text = engines.tokenizer.decode([*prompt, *one.tokens], skip_special_tokens=True).strip()
            if text:
                texts.setdefault(text, Candidate(text, engines.name, math.exp(one.log_probability)))
        return list(texts.values())


def _embedded(
    tagger: Tagger, rgb: npt.NDArray[np.uint8], candidates: Sequence[Candidate]
) -> tuple[list[Tag], Candidate | None, list[Candidate]]:
    """Tags, the embedding's own candidate, and ``candidates`` with their likeness."""
    embedder = tagger.embedder
    picture = embedder.pixels(rgb)
    tags = tagger.tags(picture)

    def likeness(text: str) -> float | None:
        return float(embedder.text(text) @ picture) if embedder.knows(text) else None

    known = [replace(one, likeness=likeness(one.text)) for one in candidates]
    own: Described | None = described(tags)
    if own is None:
        return tags, None, known
    return tags, Candidate(own.text, embedder.name, own.confidence, likeness(own.text)), known


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded(LATE)
    return left
