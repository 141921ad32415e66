"""The starter family's checkpoint, read back out of its engines: what training of adapters begins from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from diffusers.models.attention_processor import AttnProcessor
from onnx import numpy_helper
from tokenizers import Tokenizer

from build_engines.mini import checkpoint
from build_engines.mini.drawing import Painter
from build_engines.mini.engine_weights import Arrays, fill, weights_of
from build_engines.mini.flow import Denoiser
from build_engines.mini.networks import make_autoencoder, make_text_encoder, make_unet
from build_engines.mini.presets import CPU
from serve.diffusion.family import manifest_of

NAME = "mini"


def read_painter(repository: Path) -> Painter:
    """What draws, with the weights of the engines in ``repository``. Raises ValueError, FileNotFoundError."""

    def weights(part: str) -> Arrays:
        return weights_of(repository / f"{NAME}_{part}" / "1" / "model.onnx")

    tokenizer = Tokenizer.from_file(str(repository / f"{NAME}_text_encoder" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unet = make_unet(CPU.flow, CPU.autoencoder.channels)
    fill(unet, weights("unet"), "unet.")
    text_encoder = make_text_encoder(CPU.flow, tokenizer.get_vocab_size())
    fill(text_encoder, weights("text_encoder"), "encoder.")
    autoencoder = make_autoencoder(CPU.autoencoder)
    fill(autoencoder.encoder, weights("vae_encoder"), "vae.encoder.")
    fill(autoencoder.decoder, weights("vae_decoder"), "vae.decoder.")
    unet.set_attn_processor(AttnProcessor())
    return Painter(Denoiser(text_encoder, unet).eval(), autoencoder.eval(), tokenizer, _scale(repository))


def _scale(repository: Path) -> float:
    """The autoencoder's scaling factor: the number by which the decoder's engine divides."""
    graph = onnx.load(str(repository / f"{NAME}_vae_decoder" / "1" / "model.onnx")).graph
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    constants |= {tensor.name: tensor for tensor in graph.initializer}
    first = next(node for node in graph.node if "latents" in node.input)
    other = next(name for name in first.input if name != "latents")
    return float(np.asarray(numpy_helper.to_array(constants[other])).reshape(-1)[0])


def read_back(repository: Path, folder: Path) -> None:
    """Writes the checkpoint to ``folder`` as `build_engines.mini.checkpoint` does."""
    painter = read_painter(repository)
    origin = json.loads(manifest_of(repository, NAME).read_text()).get("origin") or {}
    checkpoint.save(painter, folder, origin)
