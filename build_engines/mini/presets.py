"""How large the family is and how long it learns: ``cpu`` for a core or two, ``gpu`` for one GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AutoencoderPreset:
    """``encoder_blocks`` and ``decoder_blocks``: residual blocks per resolution, from the input on."""

    width: int = 64
    channels: int = 16
    encoder_blocks: tuple[int, ...] = (0, 2, 3, 3)
    decoder_blocks: tuple[int, ...] = (3, 3, 2, 1)
    batch: int = 8
    learning_rate: float = 1e-3
    samples: int = 66_000
    decoder_samples: int = 120_000


@dataclass(frozen=True)
class FlowPreset:
    """The denoiser and its text encoder; ``samples``: wanted in all, the last ``falling`` of them at a falling rate."""

    widths: tuple[int, ...] = (128, 224)
    heads: tuple[int, ...] = (4, 7)
    layers: int = 1
    text_width: int = 256
    text_layers: int = 2
    text_heads: int = 4
    batch: int = 64
    learning_rate: float = 5e-4
    warm_up_steps: int = 500
    samples: int = 640_000
    falling: float = 0.4
    ema_decay: float = 0.9995


@dataclass(frozen=True)
class MiniPreset:
    """``device`` is where it trains; every seed derives from ``seed``."""

    name: str
    device: str
    autoencoder: AutoencoderPreset
    flow: FlowPreset
    seed: int = 0
    checkpoint_s: float = 300.0
    """Seconds between checkpoints."""
    grid_s: float = 600.0
    """Seconds between grids of samples."""


CPU = MiniPreset("cpu", "cpu", AutoencoderPreset(), FlowPreset())

GPU = MiniPreset(
    "gpu",
    "cuda",
    AutoencoderPreset(
        encoder_blocks=(1, 3, 3, 3),
        decoder_blocks=(3, 3, 3, 1),
        batch=128,
        samples=2_000_000,
        decoder_samples=2_000_000,
    ),
    FlowPreset(widths=(192, 320), heads=(6, 10), text_layers=3, batch=512, learning_rate=8e-4, samples=20_000_000),
    checkpoint_s=60.0,
    grid_s=120.0,
)

MINI_PRESETS = {p.name: p for p in (CPU, GPU)}
