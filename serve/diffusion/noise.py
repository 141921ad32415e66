"""A picture's noise, a pure function of its seed and of what it is for.

Every draw has a Philox generator of its own, keyed by (seed, draw) (Salmon et al. 2011). So a picture's noise does not
depend on what else is in its batch or on what was drawn before, and a run that continues later, elsewhere, from its
step index needs no generator's state. NumPy may improve its normal distribution between feature releases (NEP 19).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.errors import InvalidRequest

LATENTS = 0
"""Draw of the starting latents."""
POSTERIOR = 1
"""Draw of the sample from the VAE encoder's posterior."""
_FIRST_STEP = 2
MASKED_POSTERIOR = 2**32
"""Draw of the sample from the VAE encoder's posterior of a picture without its masked part."""

MAX_SEED = 2**63 - 1


def gaussian(seed: int, draw: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal noise of ``shape``: the same for the same ``seed`` (0 to 2**63 - 1), ``draw`` and ``shape``."""
    generator = np.random.Generator(np.random.Philox(key=(draw << 64) | seed))
    return generator.standard_normal(shape, dtype=np.float32)


def step_draw(i: int) -> int:
    """The draw of the noise that evaluation ``i`` of a stochastic sampler adds."""
    return _FIRST_STEP + i


def derived_seeds(seed: int, n: int) -> list[int]:
    """Seeds of ``n`` pictures: ``(seed + i) mod 2**63`` for i = 0 .. n - 1, so each can be had again on its own.

    Raises ``InvalidRequest`` when ``seed`` is not a whole number from 0 to 2**63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InvalidRequest(f"must be a whole number from 0 to {MAX_SEED}", "seed")
    return [(seed + i) % (MAX_SEED + 1) for i in range(n)]
