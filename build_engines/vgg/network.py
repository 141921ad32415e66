"""Grams and features of a VGG, and the gradient of Gatys' losses by the picture, written out: ONNX has no autograd.

Pooling is by the mean, as Gatys et al. recommend. Style: the Gram matrices of each block's first convolution. Content:
the features of the second convolution of the fourth block, or the last one that there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from build_engines.vgg.checkpoint import Convolution

CONTENT_BLOCK, CONTENT_PLACE = 3, 1
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as torchvision states them for its VGGs."""


class Features(nn.Module):
    """``layers`` up to the last that counts."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, layers: Sequence[Convolution]) -> None:
        super().__init__()
        blocks: list[list[int]] = [[]]
        for i, layer in enumerate(layers):
            if layer.pooled:
                blocks.append([])
            blocks[-1].append(i)
        of_content = blocks[min(CONTENT_BLOCK, len(blocks) - 1)]
        self.content = of_content[min(CONTENT_PLACE, len(of_content) - 1)]
        self.styles = tuple(block[0] for block in blocks)
        kept = list(layers)[: max(self.content, *self.styles) + 1]
        self.pooled = tuple(layer.pooled for layer in kept)
        self.weights = nn.ParameterList([nn.Parameter(layer.weight, requires_grad=False) for layer in kept])
        self.biases = nn.ParameterList([nn.Parameter(layer.bias, requires_grad=False) for layer in kept])
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).reshape(1, 3, 1, 1), persistent=False)

    @property
    def channels(self) -> list[int]:
        """Of the layers whose Gram matrices are the style."""
        return [int(self.weights[i].shape[0]) for i in self.styles]

    @property
    def step_px(self) -> int:
        """Sides of pictures are multiples of it."""
        return int(2 ** sum(self.pooled))

    def activations(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Of each convolution, after its ReLU. ``image``: (B, H, W, 3), from 0 to 255."""
        x = (image.permute(0, 3, 1, 2) / 255 - self.mean) / self.std
        found = []
        for weight, bias, pooled in zip(self.weights, self.biases, self.pooled, strict=True):
            x = F.relu(F.conv2d(F.avg_pool2d(x, 2) if pooled else x, weight, bias, padding=1))
            found.append(x)
        return found


def gram(features: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) to (B, C, C), the mean over pixels of the products of channels."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class Describe(nn.Module):
    """A picture (B, H, W, 3), from 0 to 255, to its Gram matrices (B, K), in a row, and content features
    (B, C, h, w)."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.features.activations(image)
        grams = [gram(found[i]).flatten(1) for i in self.features.styles]
        return torch.cat(grams, 1), found[self.features.content]


class Gradient(nn.Module):
    """The gradient (B, H, W, 3) of ``weights`` @ losses by the picture, and both losses (B, 2): of style, the mean over
    layers of the mean squared difference of Gram matrices; of content, the mean squared difference of features."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features

    def forward(
        self, image: torch.Tensor, grams: torch.Tensor, content: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        net = self.features
        found = net.activations(image)
        style, sources, first = torch.zeros_like(weights[:, 0]), {}, 0
        for i, channels in zip(net.styles, net.channels, strict=True):
            wanted = grams[:, first : first + channels**2].reshape(-1, channels, channels)
            first += channels**2
            gap = gram(found[i]) - wanted
            style = style + gap.square().mean((1, 2)) / len(net.styles)
            flat = found[i].flatten(2)
            slope = gap @ flat * (4 / (channels**2 * len(net.styles))) / flat.shape[2]
            sources[i] = weights[:, 0, None, None, None] * slope.reshape(found[i].shape)
        gap = found[net.content] - content
        losses = torch.stack([style, gap.square().mean((1, 2, 3))], 1)
        size = gap.shape[1] * gap.shape[2] * gap.shape[3]
        own = weights[:, 1, None, None, None] * gap * 2 / size
        sources[net.content] = sources[net.content] + own if net.content in sources else own
        return self._backward(found, sources), losses

    def _backward(self, found: Sequence[torch.Tensor], sources: dict[int, torch.Tensor]) -> torch.Tensor:
        net, back = self.features, torch.zeros_like(found[-1])
        for i in reversed(range(len(found))):
            back = (back + sources[i] if i in sources else back) * (found[i] > 0)
            back = F.conv_transpose2d(back, net.weights[i], padding=1)
            if net.pooled[i]:
                back = F.interpolate(back, scale_factor=2.0, mode="nearest") / 4
        return (back / (255 * net.std)).permute(0, 2, 3, 1)
