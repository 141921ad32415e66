"""Tracing as a Gymnasium environment (D-040): see a picture's embedding, choose eight parameters, be paid.

An episode is one decision, so this is a contextual bandit. ``TracingEnv`` is the plain environment, and
``BatchedTracing`` many of them at once, whose rewards are computed together. Both are paid by the function they are
given: ``predicted`` makes one of the `quality` network, ``real`` one of real traces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from build_engines.labels.collect import Drawn
from build_engines.train.networks import EMBEDDING, Quality
from build_engines.train.reward import predicted_reward
from build_engines.train.trial import Trials
from serve.vector.parameters import CANDIDATE_WIDTH, LEARNED, MAX_REFINE

Floats = npt.NDArray[np.float32]
Reward = Callable[[npt.NDArray[np.int64], Floats], Floats]
"""Indices of pictures (B,) and candidate rows (B, 10) to rewards (B,)."""

OBSERVATION = spaces.Box(0.0, 1.0, (EMBEDDING,), np.float32)
ACTION = spaces.Box(0.0, 1.0, (LEARNED,), np.float32)


def rows_of(actions: npt.ArrayLike) -> Floats:
    """Actions (B, 8) as candidate rows (B, 10) of the coverage tracer, with one round of refinement as in tier 3."""
    values = np.clip(np.asarray(actions, np.float32), 0.0, 1.0)
    rows = np.zeros((len(values), CANDIDATE_WIDTH), np.float32)
    rows[:, 1 : 1 + LEARNED] = values
    rows[:, -1] = 1 / MAX_REFINE
    return rows


def predicted(quality: Quality, embedding: Floats) -> Reward:
    """Rewards by the `quality` network's prediction."""
    known = torch.from_numpy(embedding)

    @torch.no_grad()
    def reward(index: npt.NDArray[np.int64], rows: Floats) -> Floats:
        answer = predicted_reward(quality, known[index], torch.from_numpy(rows)[:, None])
        return np.asarray(answer[:, 0].numpy(), np.float32)

    return reward


def real(trials: Trials, pictures: Sequence[Drawn]) -> Reward:
    """Rewards by really tracing."""

    def reward(index: npt.NDArray[np.int64], rows: Floats) -> Floats:
        return trials.rewards([pictures[i] for i in index], rows[:, None])[:, 0]

    return reward


class TracingEnv(gymnasium.Env[Floats, Floats]):  # type: ignore[misc]
    """One picture at a time. Observation Box(0, 1, (512,)), action Box(0, 1, (8,)), episodes of one step."""

    def __init__(self, embedding: Floats, reward: Reward) -> None:
        self.observation_space = OBSERVATION
        self.action_space = ACTION
        self._embedding = embedding
        self._reward = reward
        self._at = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = int(self.np_random.integers(len(self._embedding)))
        return self._embedding[self._at].copy(), {"picture": self._at}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        reward = self._reward(np.array([self._at]), rows_of(action[None]))
        return self._embedding[self._at].copy(), float(reward[0]), True, False, {}


class BatchedTracing(VecEnv):  # type: ignore[misc]
    """``count`` environments whose rewards are computed in one call; each step ends every episode."""

    def __init__(self, embedding: Floats, reward: Reward, count: int, seed: int = 0) -> None:
        super().__init__(count, OBSERVATION, ACTION)
        self._embedding = embedding
        self._reward = reward
        self._rng = np.random.default_rng(seed)
        self._at: npt.NDArray[np.int64] = np.zeros(count, np.int64)
        self._actions = np.zeros((count, LEARNED), np.float32)

    def reset(self) -> Floats:
        self._at = self._rng.integers(0, len(self._embedding), (self.num_envs,), dtype=np.int64)
        return self._embedding[self._at]

    def step_async(self, actions: Floats) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Floats, Floats, npt.NDArray[np.bool_], list[dict[str, Any]]]:
        rewards = self._reward(self._at, rows_of(self._actions))
        last = self._embedding[self._at]
        infos: list[dict[str, Any]] = [{"terminal_observation": o, "TimeLimit.truncated": False} for o in last]
        return self.reset(), rewards, np.ones(self.num_envs, np.bool_), infos

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs
