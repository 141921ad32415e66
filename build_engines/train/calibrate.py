"""Temperature scaling of the type's probabilities (Guo et al. 2017), fitted on the validation split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from build_engines.train.joint import counted
from build_engines.train.networks import LogoType
from build_engines.train.pictures import Pictures


@torch.no_grad()
def set_temperature(head: LogoType, embedding: Tensor, pictures: Pictures) -> float:
    """Sets and returns the temperature from 0.3 to 4 with the least negative log-likelihood."""
    head.eval()
    logits, target = head.logits(embedding, *counted(pictures)), torch.from_numpy(pictures.kind)
    tried = np.geomspace(0.3, 4.0, 200)
    losses = [F.cross_entropy(logits / t, target).item() for t in tried]
    best = float(tried[int(np.argmin(losses))])
    head.temperature.fill_(best)
    return best
