"""One caller's peers, with the same weights, steps, sampler and guidance: torch, and the engines without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from build_engines.export.config import FILES
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import RUNTIMES, Run
from loadtests.illustrate.subject import Subject
from serve.diffusion.guidance import guide
from serve.diffusion.noise import LATENTS, gaussian
from serve.diffusion.samplers import State, by_name
from serve.diffusion.tokens import PromptTokenizer, encode_all

Draw = Callable[[str, int], npt.NDArray[np.uint8]]
"""Takes a prompt and a seed; returns one picture, (H, W, 3)."""


def diffusers_eager(subject: Subject, steps: int, guidance_scale: float) -> Draw:
    """diffusers' networks and scheduler in PyTorch's eager mode, in the loop that its pipelines have."""
    folder, family = subject.checkpoint, subject.family
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    vae = AutoencoderTiny.from_pretrained(folder / "vae").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    shape = family.latents_shape(*family.defaults.size)

    @torch.no_grad()
    def draw(prompt: str, seed: int) -> npt.NDArray[np.uint8]:
        tokens = tokenizer([prompt, ""], padding="max_length", truncation=True, return_tensors="pt").input_ids
        embeds = text_encoder(tokens).last_hidden_state
        scheduler.set_timesteps(steps)
        latents = torch.from_numpy(gaussian(seed, LATENTS, shape))[None]
        for timestep in scheduler.timesteps:
            conditional, free = unet(torch.cat([latents, latents]), timestep, embeds).sample.chunk(2)
            latents = scheduler.step(free + guidance_scale * (conditional - free), timestep, latents).prev_sample
        picture = vae.decode(latents / vae.config.scaling_factor).sample[0]
        pixels: npt.NDArray[np.uint8] = (picture / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        return pixels

    return draw


def bare_loop(subject: Subject, steps: int, guidance_scale: float) -> Draw:
    """The same engines and sampler in this process: no Triton, no requests, nothing checked."""
    family = subject.family
    encoder, unet, decoder = (
        _open(subject, engine) for engine in (family.text[0].engine, family.unet, family.vae_decoder)
    )
    path = subject.repository / family.text[0].engine / "tokenizer.json"
    tokenizer = PromptTokenizer.load(path, family.text[0])
    trajectory = by_name(family.defaults.sampler).trajectory(family.scheduler, steps)
    shape = family.latents_shape(*family.defaults.size)

    def draw(prompt: str, seed: int) -> npt.NDArray[np.uint8]:
        tokens = encode_all([tokenizer], {"negative_prompt": "", "prompt": prompt})
        embeds = encoder({"input_ids": np.concatenate([t[0].ids for t in tokens.values()])})["prompt_embeds"]
        sample = trajectory.start(gaussian(seed, LATENTS, shape))
        state: State = {}
        for i, timestep in enumerate(trajectory.timesteps):
            both = np.repeat(trajectory.scale_model_input(sample, i)[None], 2, axis=0)
            inputs: dict[str, Any] = {"sample": both, "timestep": np.full((2, 1), timestep, np.float32)}
            free, conditional = unet({**inputs, "encoder_hidden_states": embeds})["noise_pred"]
            sample, state = trajectory.step(state, guide(free, conditional, guidance_scale), sample, i, None)
        pixels: npt.NDArray[np.uint8] = decoder({"latents": sample[None]})["image"][0]
        return pixels

    return draw


def _open(subject: Subject, engine: str) -> Run:
    """The engine's file in the runtime that its config names, on every core as there."""
    folder = subject.repository / engine
    backend = json.loads((folder / "manifest.json").read_text())["backend_benchmark"]["chosen"]
    outputs = {"text_encoder": "prompt_embeds", "unet": "noise_pred", "vae_decoder": "image"}
    output = next(name for part, name in outputs.items() if engine.endswith(part))
    contract = Contract(engine, (), (Tensor(output, ()),), 16, (), threads=0)
    return RUNTIMES[backend](folder / "1" / FILES[backend], contract)
