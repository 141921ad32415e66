"""The five networks. Each one's ``forward`` is exactly what its engine computes: names and shapes are its contract.

ResNet-50 (2,048 features, D-030) is not used: 4.1 billion multiply-adds are over 100 ms on one core, and 94 MB on disk.
This embedding takes about 0.1 billion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serve.vector.features import STATISTICS
from serve.vector.parameters import CANDIDATE_WIDTH, LEARNED
from serve.vector.structure import STRUCTURE

EMBEDDING = 512
KINDS = 4
_CHANNELS = (32, 64, 112)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside an identity, as in He et al. (2016), normalised for folding at export."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(inner)))


class _Branch(nn.Module):
    """One 128x128 picture to the mean and the largest response of its last channels.

    The first layer takes 6x6 px every 4 px, so that most of the work is done on maps of 16x16 and 8x8.
    """

    def __init__(self) -> None:
        super().__init__()
        first, middle, last = _CHANNELS
        self.layers = nn.Sequential(
            *_convolution(4, first, 6, 4),
            *_convolution(first, middle, 3, 2),
            _Residual(middle),
            *_convolution(middle, last, 3, 2),
            _Residual(last),
        )

    def forward(self, rgba: Tensor) -> Tensor:
        maps: Tensor = self.layers(rgba)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def _convolution(before: int, after: int, size: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, size, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()


def normalise(rgba: Tensor) -> Tensor:
    """(N, H, W, 4) uint8 with straight alpha to (N, 4, H, W) in [0, 1], colours premultiplied by alpha."""
    scaled = rgba.to(torch.float32).permute(0, 3, 1, 2) * (1.0 / 255.0)
    alpha = scaled[:, 3:4]
    return torch.cat([scaled[:, :3] * alpha, alpha], dim=1)


class ImageFeatures(nn.Module):
    """``pixels``, ``detail`` (N, 128, 128, 4) uint8 and ``statistics`` (N, S) → ``embedding`` (N, 512) in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = _Branch()
        self.detail = _Branch()
        self.statistics = nn.Sequential(nn.Linear(STATISTICS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.out = nn.Linear(4 * _CHANNELS[-1] + 64, EMBEDDING)

    def forward(self, pixels: Tensor, detail: Tensor, statistics: Tensor) -> Tensor:
        parts = [self.whole(normalise(pixels)), self.detail(normalise(detail)), self.statistics(statistics)]
        return torch.sigmoid(self.out(torch.cat(parts, dim=1)))


class LogoType(nn.Module):
    """``embedding`` (N, 512), ``statistics`` (N, S), ``structure`` (N, T) → ``probabilities`` (N, 4).

    The last two decide: they are measured, where a small CNN does not count. The embedding is let in by a narrow,
    noisy door, because it knows the training pictures too well. Calibrated by one temperature (Guo et al. 2017).
    """

    def __init__(self, width: int = 128, door: int = 8) -> None:
        super().__init__()
        counted = STATISTICS + STRUCTURE
        self.picture = nn.Sequential(nn.Dropout(0.5), nn.Linear(EMBEDDING, door), nn.ReLU(), nn.Dropout(0.5))
        self.layers = nn.Sequential(
            *(nn.Linear(counted + door, width), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.2)),
            nn.Linear(width, KINDS),
        )
        self.offset: Tensor
        self.scale: Tensor
        self.register_buffer("offset", torch.zeros(counted))
        self.register_buffer("scale", torch.ones(counted))
        self.temperature = nn.Parameter(torch.ones(()), requires_grad=False)

    def normalise_by(self, statistics: Tensor, structure: Tensor) -> None:
        """From now on both inputs have mean 0 and deviation 1 over these pictures, (N, S) and (N, T)."""
        counted = torch.cat([statistics, structure], dim=1)
        self.offset.copy_(counted.mean(dim=0))
        self.scale.copy_(counted.std(dim=0).clamp(min=0.01))

    def logits(self, embedding: Tensor, statistics: Tensor, structure: Tensor) -> Tensor:
        counted = (torch.cat([statistics, structure], dim=1) - self.offset) / self.scale
        out: Tensor = self.layers(torch.cat([self.picture(2 * embedding - 1), counted.clamp(-4.0, 4.0)], dim=1))
        return out

    def forward(self, embedding: Tensor, statistics: Tensor, structure: Tensor) -> Tensor:
        return torch.softmax(self.logits(embedding, statistics, structure) / self.temperature, dim=1)


class Quality(nn.Module):
    """``embedding`` (N, 512) and ``parameters`` (N, K, 10) → five (N, K): ssim, fidelity, log2 bytes, ms and paths.

    Errors (1 - SSIM) are predicted as logarithms, for their ratios are what the utility weighs. The embedding is
    projected once and the candidates meet it by addition and by product, so a thousand of them cost one matrix.
    """

    OUTPUTS = ("ssim", "fidelity", "log2_bytes", "log2_ms", "log2_paths")

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(EMBEDDING, width), nn.ReLU(), nn.Dropout(0.1))
        self.picture_out = nn.Linear(width, 2 * width)
        self.candidate = nn.Sequential(nn.Linear(CANDIDATE_WIDTH, 64), nn.ReLU(), nn.Linear(64, width))
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 5))
        self.offset: Tensor
        self.scale: Tensor
        self.register_buffer("offset", torch.tensor([-4.0, -4.0, 12.0, 5.0, 4.0]))
        self.register_buffer("scale", torch.tensor([2.0, 2.0, 2.0, 1.5, 2.0]))

    def logarithms(self, embedding: Tensor, parameters: Tensor) -> Tensor:
        """(N, K, 5): log2 of 1 - ssim, 1 - fidelity, bytes, ms and paths."""
        shift, gain = self.picture_out(self.picture(2 * embedding - 1)).chunk(2, dim=1)
        mixed = shift[:, None] + self.candidate(2 * parameters - 1) * (1 + gain[:, None])
        out: Tensor = self.layers(mixed) * self.scale + self.offset
        return out

    def forward(self, embedding: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        out = self.logarithms(embedding, parameters)
        ssim, fidelity = (1 - torch.exp2(out[..., i].clamp(max=0.0)) for i in (0, 1))
        return ssim, fidelity, out[..., 2], out[..., 3], out[..., 4]


class Tier1(nn.Module):
    """``embedding`` (N, 512) → ``parameters`` (N, 10): one candidate row, every value in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(EMBEDDING, 128), nn.ReLU(), nn.Linear(128, CANDIDATE_WIDTH))

    def forward(self, embedding: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(2 * embedding - 1))


class Policy(nn.Module):
    """``embedding`` (N, 512) → ``action`` (N, 8), the Gaussian's mean clipped to [0, 1], and ``log_std`` (N, 8)."""

    def __init__(self, body: nn.Sequential, mean: nn.Linear, log_std: Tensor) -> None:
        super().__init__()
        self.body = body
        self.mean = mean
        # Not called log_std: an ONNX initializer may not have an output's name.
        self.spread = nn.Parameter(log_std.detach().clone().reshape(1, LEARNED), requires_grad=False)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        action = self.mean(self.body(embedding)).clamp(0.0, 1.0)
        return action, self.spread + torch.zeros_like(action)
