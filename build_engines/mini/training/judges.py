"""Encoders that judge drawings, trained on real pictures alone.

``PictureJudge`` measures: two views of one picture belong together (NT-Xent: Chen et al., "A Simple Framework for
Contrastive Learning", 2020). ``CaptionJudge`` chooses among candidates: a picture and its caption belong together
(CLIP: Radford et al., 2021). They share no weights and no seed, so that the one can measure what the other gains.
Pictures are seen on white at 64x64 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from build_engines.mini.autoencoder import falling_rate
from build_engines.mini.autoencoder import to_tensor as rgb_to_tensor
from build_engines.mini.colours import COLOURS
from build_engines.mini.corpus.captions import CaptionWriter
from build_engines.mini.corpus.pictures import Corpus, Rgba
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.judge import PictureEncoder, moved
from build_engines.mini.loop import Descent
from build_engines.mini.pictures import Rgb, Variant
from build_engines.mini.tokenizer import SPECIAL, UNKNOWN, encode, make_tokenizer
from build_engines.mini.training.autoencoder import laid_on
from build_engines.mini.training.text import TOKENS, WordEmbedding

SIDE_PX = 64
EMBEDDING = 128
MEASURE_STEPS = 1500
_TEMPERATURE = 0.1
_COLOURED_SHARE = 0.4
_CHUNK = 256


def seen(rgba: Rgba) -> Rgb:
    """Pictures (B, H, W, 4) as judges see them: (B, 64, 64, 3), on white."""
    return np.stack([cv2.resize(p, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for p in laid_on(rgba)])


def _view(rng: np.random.Generator, pictures: Rgb) -> Tensor:
    """Each picture shifted, scaled, blurred and a little noisy, as drawings are."""
    images = moved(rng, rgb_to_tensor(pictures))
    coarse = int(rng.integers(24, SIDE_PX + 1))
    blurred = F.interpolate(images, (coarse, coarse), mode="bilinear", antialias=True)
    images = F.interpolate(blurred, images.shape[-2:], mode="bilinear")
    noise = rng.standard_normal(images.shape, np.float32) * rng.uniform(0, 0.1)
    viewed = images + torch.from_numpy(np.asarray(noise, np.float32))
    return viewed.contiguous(memory_format=torch.channels_last)


def _pick(rng: np.random.Generator, corpus: Corpus, usable: Sequence[int], count: int) -> list[Variant]:
    """Different icons, some of them in another colour, none mirrored."""
    chosen = rng.choice(np.asarray(usable), min(count, len(usable)), replace=False)
    return [Variant(int(i), _colour(rng, corpus, int(i)), False) for i in chosen]


def _colour(rng: np.random.Generator, corpus: Corpus, index: int) -> str | None:
    able = corpus.entries[index].own_colour is not None and rng.random() < _COLOURED_SHARE
    return str(rng.choice(list(COLOURS))) if able else None


class PictureJudgeLearner(Descent[PictureEncoder]):
    """Sees every icon, those that the denoiser never sees too: it has to know the right answer."""

    def __init__(
        self, corpus: Corpus, steps: int = MEASURE_STEPS, batch: int = 96, seed: int = 11, device: str = "cpu"
    ) -> None:
        torch.manual_seed(seed)
        self.corpus, self.steps, self.batch, self.seed = corpus, steps, batch, seed
        self.device, self.model = device, PictureEncoder().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1.0, weight_decay=0.01, fused=True)
        self._usable = [i for i, e in enumerate(corpus.entries) if corpus.concepts[e.concept].emoji]

    def step(self, n: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 3, n))
        self.optimizer.param_groups[0]["lr"] = 2e-3 * falling_rate(n, self.steps, 50, 0.8)
        chosen = _pick(rng, self.corpus, self._usable, self.batch)
        pictures = seen(np.stack([self.corpus.draw(v) for v in chosen]))
        embedded = self.model(torch.cat([_view(rng, pictures), _view(rng, pictures)]).to(self.device))
        alike = (embedded @ embedded.T / _TEMPERATURE).masked_fill(
            torch.eye(len(embedded), dtype=torch.bool, device=self.device), -torch.inf
        )
        count = len(chosen)
        loss = F.cross_entropy(alike, torch.cat([torch.arange(count) + count, torch.arange(count)]).to(self.device))
        return self.descend(loss)


class CaptionEncoder(nn.Module):
    """Token ids (B, T) to unit vectors (B, 128): words weighed and added, then two layers."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.words: nn.Module = nn.Embedding(vocab_size, width)
        self.weigh = nn.Linear(width, 4)
        self.layers = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, EMBEDDING))

    def forward(self, ids: Tensor) -> Tensor:
        words: Tensor = self.words(ids)
        absent = (ids < UNKNOWN)[..., None]
        weights = self.weigh(words).masked_fill(absent, -1e4).softmax(1)
        return F.normalize(self.layers((weights.transpose(1, 2) @ words).flatten(1)), dim=1)


class CaptionJudge(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures (B, 3, 64, 64) in [-1, 1] and token ids (B, T) to how well each fits its caption, (B,) in [-1, 1]."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, vocab_size: int = 4, width: int = 128, side_px: int = SIDE_PX) -> None:
        super().__init__()
        del side_px
        self.pictures, self.captions = PictureEncoder(), CaptionEncoder(vocab_size, width)
        self.sharpness = nn.Parameter(torch.tensor([2.5]))

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        fit: Tensor = (self.pictures(images) * self.captions(ids)).sum(1)
        return fit


@torch.no_grad()
def shipped_judge(trained: CaptionJudge, kept_tokens: Sequence[int] | None = None) -> CaptionJudge:
    """A copy with a plain embedding table, of ``kept_tokens``, or of all when None."""
    tokens = list(range(trained.config.vocab_size)) if kept_tokens is None else list(kept_tokens)
    copied: CaptionJudge = CaptionJudge(len(tokens), trained.config.width, trained.config.side_px)
    kept = {name: value for name, value in trained.state_dict().items() if not name.startswith("captions.words.")}
    table = trained.eval().captions.words(torch.arange(trained.config.vocab_size)[None])[0][tokens]
    copied.load_state_dict(kept | {"captions.words.weight": table})
    copied.eval()
    return copied


class CaptionJudgeLearner(Descent[CaptionJudge]):
    """Learns from what the denoiser may see, so that held-out pairs stay a test of both together."""

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        steps: int,
        batch: int = 96,
        seed: int = 12,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        self.corpus, self.steps, self.batch, self.seed = corpus, steps, batch, seed
        self.tokenizer: Tokenizer = make_tokenizer(vocabulary.words)
        self.model: CaptionJudge = CaptionJudge(vocab_size=len(SPECIAL) + len(vocabulary.words))
        self.model.captions.words = WordEmbedding(vocabulary, self.model.config.width)
        self.device = device
        self.model.to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1.0, weight_decay=0.05, fused=True)
        self._writer = CaptionWriter(corpus.concepts)
        self._usable = [i for i, e in enumerate(corpus.entries) if e.trained and corpus.concepts[e.concept].emoji]

    def step(self, n: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 4, n))
        torch.manual_seed(n)
        self.optimizer.param_groups[0]["lr"] = 1e-3 * falling_rate(n, self.steps, 50, 0.8)
        chosen = _pick(rng, self.corpus, self._usable, self.batch)
        captions = [self._writer.write(rng, self.corpus.entries[v.index], v.colour) or "picture" for v in chosen]
        pictures = seen(np.stack([self.corpus.draw(v) for v in chosen]))
        images = self.model.pictures(_view(rng, pictures).to(self.device))
        texts = self.model.captions(torch.from_numpy(encode(self.tokenizer, captions, TOKENS)).to(self.device))
        alike = images @ texts.T * self.model.sharpness.clamp(max=4).exp()
        concepts = np.asarray([self.corpus.entries[v.index].concept for v in chosen])
        same = torch.from_numpy(concepts[:, None] == concepts[None]) & ~torch.eye(len(chosen), dtype=torch.bool)
        alike = alike.masked_fill(same.to(self.device), -torch.inf)
        wanted = torch.arange(len(chosen), device=self.device)
        return self.descend((F.cross_entropy(alike, wanted) + F.cross_entropy(alike.T, wanted)) / 2, 1.0)


@torch.no_grad()
def embed(model: PictureEncoder, rgba: Rgba) -> npt.NDArray[np.float32]:
    """Unit vectors (B, 128) of pictures (B, H, W, 4)."""
    chunks = [model(rgb_to_tensor(seen(rgba[i : i + _CHUNK]))) for i in range(0, len(rgba), _CHUNK)]
    return np.asarray(torch.cat(chunks).numpy())


@torch.no_grad()
def fits(judge: CaptionJudge, tokenizer: Tokenizer, rgba: Rgba, captions: Sequence[str]) -> npt.NDArray[np.float32]:
    """How well each picture (B, H, W, 4) fits its caption, (B,)."""
    judge.eval()
    ids = torch.from_numpy(encode(tokenizer, captions, TOKENS))
    return np.asarray(judge(rgb_to_tensor(seen(rgba)), ids).numpy())


def kernel_distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Squared maximum mean discrepancy of two sets of embeddings (N, D), times 1,000: unbiased, cubic kernel (KID:
    Binkowski et al., "Demystifying MMD GANs", 2018). Rows of the same number show the same thing: they are left out."""

    def kernel(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray((x.astype(np.float64) @ y.T.astype(np.float64) + 1) ** 3)

    first, second, across = (
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(a, a), kernel(b, b), kernel(a, b))
    )
    return float(1000 * (first + second - 2 * across))
