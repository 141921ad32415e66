"""The policy: PPO of stable-baselines3 (D-041), first on predicted reward, then for a while on real traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn
from tqdm import tqdm

from build_engines.train.environment import BatchedTracing, Reward
from build_engines.train.networks import Policy

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PolicySettings:
    """D-041 asks for 500,000 steps; ``real_steps`` more are paid by real traces, ``real_count`` at a time."""

    steps: int = 500_000
    count: int = 256
    real_steps: int = 2048
    real_count: int = 64
    rollout: int = 8


class _Progress(BaseCallback):  # type: ignore[misc]
    def __init__(self, total: int, name: str) -> None:
        super().__init__()
        self._bar = tqdm(total=total, desc=name, unit="step")

    def _on_step(self) -> bool:
        self._bar.update(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        self._bar.set_postfix(reward=f"{np.mean(self.model.rollout_buffer.rewards):.3f}")

    def _on_training_end(self) -> None:
        self._bar.close()


def train_policy(
    embedding: Floats,
    predicted: Reward,
    real: Reward,
    real_embedding: Floats,
    settings: PolicySettings,
    start: Floats,
    seed: int = 0,
) -> tuple[Policy, Callable[[Floats], Floats]]:
    """Trains and returns the policy as an engine's network, and as a function of embeddings (N, 512).

    ``start`` (8,) is where the mean begins: the coverage tracer's defaults. The standard deviation begins at 0.2.
    """
    env = BatchedTracing(embedding, predicted, settings.count, seed)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda left: 1e-4 + 4e-4 * left,
        n_steps=settings.rollout,
        batch_size=512,
        n_epochs=6,
        gamma=0.0,
        gae_lambda=1.0,
        ent_coef=0.0,
        target_kl=0.05,
        policy_kwargs={
            "net_arch": {"pi": [128, 64], "vf": [128, 64]},
            "activation_fn": nn.Tanh,
            "log_std_init": float(np.log(0.2)),
        },
        seed=seed,
        device="cpu",
    )
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.from_numpy(start))
    model.learn(settings.steps, callback=_Progress(settings.steps, "policy: predicted reward"))
    if settings.real_steps:
        _shrink(model, settings)
        model.set_env(BatchedTracing(real_embedding, real, settings.real_count, seed + 1), force_reset=True)
        model.learn(settings.real_steps, callback=_Progress(settings.real_steps, "policy: real reward"))
    network = to_network(model)
    return network, lambda e: _act(network, e)


def _shrink(model: PPO, settings: PolicySettings) -> None:
    """A rollout of the real environment is smaller, as traces are slow; steps are shorter, as they are few."""
    model.n_envs = settings.real_count
    model.batch_size = 128
    model.lr_schedule = lambda left: 1e-4
    model.rollout_buffer = type(model.rollout_buffer)(
        settings.rollout,
        model.observation_space,
        model.action_space,
        device="cpu",
        gae_lambda=1.0,
        gamma=0.0,
        n_envs=settings.real_count,
    )


def to_network(model: PPO) -> Policy:
    """The actor of ``model`` alone, deterministic."""
    body = nn.Sequential(*model.policy.mlp_extractor.policy_net)
    return Policy(body, model.policy.action_net, model.policy.log_std).eval()


@torch.no_grad()
def _act(network: Policy, embedding: Floats) -> Floats:
    action, _ = network(torch.from_numpy(embedding))
    return np.asarray(action.numpy(), np.float32)
