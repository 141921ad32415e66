"""Sizes of the networks and lengths of the training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class AutoencoderPreset:
    """``widths``: channels at 32x32, 16x16, 8x8 pixels; latents have the size of the last. ``last_width``: at 64x64.

    ``blocks``: residual blocks of the encoder at each of these sizes; ``decoder_blocks``: from the latents' size up,
    the last at 64x64. ``noise``: largest standard deviation of the noise before decoding, in units of the latents' own.
    """

    channels: int = 32
    widths: tuple[int, ...] = (64, 128, 256)
    last_width: int = 48
    blocks: tuple[int, ...] = (2, 2, 2)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 2)
    batch: int = 8
    learning_rate: float = 1e-3
    samples: int = 22_400
    decoder_samples: int = 200_000
    noise: float = 0.3

    @property
    def side(self) -> int:
        """Height and width of the latents."""
        return 32 >> (len(self.widths) - 1)


_SMALL = AutoencoderPreset(last_width=32, blocks=(1, 1, 1), decoder_blocks=(2, 2, 2, 1))
AUTOENCODERS = {
    "8x8x16": replace(_SMALL, channels=16),
    "8x8x32": _SMALL,
    "16x16x8": replace(_SMALL, channels=8, widths=(64, 128), blocks=(1, 2), decoder_blocks=(3, 2, 1)),
}
"""The shapes of latents that are compared, by networks that a core can train."""


@dataclass(frozen=True)
class DenoiserPreset:
    """The denoiser and its text encoder; ``samples``: wanted in all, the last ``falling`` of them at a falling rate.

    ``components``: principal components of the latents that a vector denoiser works on; ``heads``: of a transformer;
    ``blocks``: of convolutions before and after the transformer of a hybrid; ``patch``: of a DiT. Noise levels of
    training are logit-normal with ``noise_mean`` and ``noise_std``. ``captions``: how many are written for each
    picture.
    """

    kind: str = "hybrid"
    widths: tuple[int, ...] = (192, 384)
    layers: int = 6
    components: int = 512
    heads: tuple[int, ...] = (6,)
    blocks: int = 2
    patch: int = 1
    text_width: int = 256
    text_layers: int = 2
    text_heads: int = 4
    batch: int = 256
    noise_mean: float = 0.8
    noise_std: float = 1.4
    learning_rate: float = 1e-3
    warm_up_steps: int = 300
    samples: int = 6_000_000
    falling: float = 0.4
    curated: float = 0.75
    """Share of captions that are mostly plain names."""
    captions: int = 32
    ema_decay: float = 0.9995
    clean: bool = False
    """Whether only emoji are shown."""
    trajectories: int = 0
    """Whole drawings that the stage ``few_step`` learns from."""


_POLISH = DenoiserPreset(
    batch=64,
    learning_rate=3e-4,
    warm_up_steps=50,
    samples=64_000,
    falling=0.8,
    curated=1.0,
    captions=12,
    ema_decay=0.998,
    clean=True,
)


_FEW_STEP = replace(_POLISH, samples=256_000, falling=0.6, trajectories=8_192)


@dataclass(frozen=True)
class TrainingPreset:
    """Every seed derives from ``seed``."""

    name: str = "rgba"
    autoencoder: AutoencoderPreset = field(default_factory=AutoencoderPreset)
    denoiser: DenoiserPreset = field(default_factory=DenoiserPreset)
    polish: DenoiserPreset = _POLISH
    """Of the second stage: emoji alone, with plain captions, at a falling rate."""
    few_step: DenoiserPreset = _FEW_STEP
    """Of the third: as many pictures of the flow again, and of steps of trajectories."""
    seed: int = 0
    device: str = "cpu"
    plain_samples: int = 150_000
    """Pictures that the denoiser sees before recoloured and mirrored ones are added, at the next start."""
    judge_steps: int = 3000
    checkpoint_s: float = 600.0
    """Seconds between checkpoints."""
    sheet_s: float = 1800.0
    """Least seconds between sheets of samples."""
    sheet_samples: int = 25_000
    """Least pictures of training between sheets of samples."""


RGBA = TrainingPreset()
RGBA_GPU = replace(
    RGBA,
    name="rgba-gpu",
    device="cuda",
    autoencoder=replace(RGBA.autoencoder, batch=128, samples=1_000_000, decoder_samples=1_000_000),
    denoiser=replace(RGBA.denoiser, batch=1024, samples=12_000_000, warm_up_steps=500),
    polish=replace(_POLISH, batch=1024, samples=1_000_000),
    few_step=replace(_FEW_STEP, batch=1024, samples=1_500_000, trajectories=49_152),
    plain_samples=0,
)
"""The same networks in minutes, on one GPU of a data centre."""

RGBA_PRESETS = {preset.name: preset for preset in (RGBA, RGBA_GPU)}
