"""How much is built: ``quick`` to see that all of it works, ``full`` for what is committed."""

from __future__ import annotations

from dataclasses import dataclass

from build_engines.data import Split


@dataclass(frozen=True)
class Preset:
    """``icons``: most icons of each split that are drawn, ``draws`` times each, to learn the types from.
    ``labelled``: how many of them are also traced, with ``candidates`` parameters each."""

    name: str
    icons: dict[Split, int]
    draws: int
    labelled: dict[Split, int]
    candidates: int
    joint_steps: int
    head_steps: int
    rounds: int
    round_steps: int
    tier1_steps: int
    policy_steps: int
    policy_real_steps: int
    trial_pictures: int
    search_tries: int

    @property
    def samples(self) -> int:
        """How many image-parameter pairs are labelled (D-031 asks for 10,000)."""
        return self.candidates * sum(self.labelled.values())


QUICK = Preset(
    name="quick",
    icons={"train": 600, "val": 120, "test": 160},
    draws=1,
    labelled={"train": 160, "val": 24, "test": 40},
    candidates=6,
    joint_steps=120,
    head_steps=200,
    rounds=1,
    round_steps=150,
    tier1_steps=200,
    policy_steps=20_000,
    policy_real_steps=0,
    trial_pictures=16,
    search_tries=4,
)

FULL = Preset(
    name="full",
    icons={"train": 10_000, "val": 10_000, "test": 10_000},
    draws=2,
    labelled={"train": 920, "val": 90, "test": 160},
    candidates=9,
    joint_steps=1200,
    head_steps=2500,
    rounds=2,
    round_steps=1000,
    tier1_steps=800,
    policy_steps=500_000,
    policy_real_steps=1024,
    trial_pictures=48,
    search_tries=8,
)

PRESETS = {p.name: p for p in (QUICK, FULL)}
