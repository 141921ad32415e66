"""One caller's peers, with the same weights, steps, sampler and guidance: torch, and the engines without a server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from build_engines.export.config import FILES
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import RUNTIMES, Run
from loadtests.illustrate.workload import Workload
from serve.diffusion.guidance import guide
from serve.diffusion.noise import LATENTS, gaussian
from serve.diffusion.samplers import State, by_name
from serve.diffusion.tokens import PromptTokenizer, encode_all
from serve.engines.client import EngineClient

Arrays = dict[str, npt.NDArray[Any]]
Pixels = npt.NDArray[np.uint8]
Draw = Callable[[str, int], Pixels]
"""Takes a prompt and a seed; returns one picture, (H, W, 3)."""
AsyncDraw = Callable[[str, int], Awaitable[Pixels]]


def diffusers_eager(subject: Workload, steps: int, guidance_scale: float) -> Draw:
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


def bare_loop(subject: Workload, steps: int, guidance_scale: float) -> AsyncDraw:
    """The same engines and sampler in this process: no Triton, no requests, nothing checked."""
    family = subject.family
    runs = {engine: _open(subject, engine) for engine in (family.text[0].engine, family.unet, family.vae_decoder)}

    async def ask(engine: str, inputs: Arrays) -> Arrays:
        return runs[engine](inputs)

    return _loop(subject, ask, steps, guidance_scale)


def served_loop(subject: Workload, engines: EngineClient, steps: int, guidance_scale: float) -> AsyncDraw:
    """The same loop over the engines in their Triton: what is left beside it is the Illustrator's own."""
    return _loop(subject, engines.infer, steps, guidance_scale)


def _loop(
    subject: Workload, ask: Callable[[str, Arrays], Awaitable[Arrays]], steps: int, guidance_scale: float
) -> AsyncDraw:
    family, tokenizer = subject.family, _tokenizer(subject)
    trajectory = by_name(family.defaults.sampler).trajectory(family.scheduler, steps)
    shape = family.latents_shape(*family.defaults.size)

    async def draw(prompt: str, seed: int) -> Pixels:
        tokens = encode_all([tokenizer], {"negative_prompt": "", "prompt": prompt})
        ids = np.concatenate([t[0].ids for t in tokens.values()])
        embeds = (await ask(family.text[0].engine, {"input_ids": ids}))["prompt_embeds"]
        sample = trajectory.start(gaussian(seed, LATENTS, shape))
        state: State = {}
        for i, timestep in enumerate(trajectory.timesteps):
            both = np.repeat(trajectory.scale_model_input(sample, i)[None], 2, axis=0)
            inputs = {"sample": both, "timestep": np.full((2, 1), timestep, np.float32)}
            free, conditional = (await ask(family.unet, {**inputs, "encoder_hidden_states": embeds}))["noise_pred"]
            sample, state = trajectory.step(state, guide(free, conditional, guidance_scale), sample, i, None)
        pixels: Pixels = (await ask(family.vae_decoder, {"latents": sample[None]}))["image"][0]
        return pixels

    return draw


def _tokenizer(subject: Workload) -> PromptTokenizer:
    encoder = subject.family.text[0]
    return PromptTokenizer.load(subject.repository / encoder.engine / "tokenizer.json", encoder)


def _open(subject: Workload, engine: str) -> Run:
    """The engine's file in the runtime that its config names, on every core as there."""
    folder = subject.repository / engine
    backend = json.loads((folder / "manifest.json").read_text())["backend_benchmark"]["chosen"]
    outputs = {"text_encoder": "prompt_embeds", "unet": "noise_pred", "vae_decoder": "image"}
    output = next(name for part, name in outputs.items() if engine.endswith(part))
    contract = Contract(engine, (), (Tensor(output, ()),), 16, (), threads=0)
    return RUNTIMES[backend](folder / "1" / FILES[backend], contract)
