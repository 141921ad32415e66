"""A model repository whose denoiser sleeps: what each replica can do is then its own, as with a GPU each.

On two cores more replicas of an engine that computes give no more pictures. One that sleeps a fixed time for each
batch, up to a fixed number of rows, has the capacity of a device of its own. All else is real: Triton, its batcher,
the sampler's loop, text encoder and VAE of the starter family.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from loadtests.vectorize.measure import ROOT

FAMILY = "mini"
UNET = f"{FAMILY}_unet"

_MODEL = """import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({step_s})
        samples = [pb_utils.get_input_tensor_by_name(request, "sample").as_numpy() for request in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("noise_pred", (sample * 0.5).astype("float32"))])
            for sample in samples
        ]
"""
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {rows}
input [
  {{ name: "sample" data_type: TYPE_FP32 dims: [ 16, -1, -1 ] }},
  {{ name: "timestep" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "encoder_hidden_states" data_type: TYPE_FP32 dims: [ -1, 256 ] }}
]
output [ {{ name: "noise_pred" data_type: TYPE_FP32 dims: [ 16, -1, -1 ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: 20000 }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


def write_sleeping_family(repository: Path, step_s: float, rows: int) -> Path:
    """The starter family with a denoiser that takes ``step_s`` for up to ``rows`` steps at once.

    One replica then does ``rows / step_s`` steps a second, and its pictures are a function of prompt and seed.
    """
    for engine in (ROOT / "model_repository").glob(f"{FAMILY}_*"):
        shutil.copytree(engine, repository / engine.name, ignore=_weights_of_the_denoiser)
    folder = repository / UNET
    (folder / "config.pbtxt").write_text(_CONFIG.format(name=UNET, rows=rows))
    (folder / "1").mkdir(exist_ok=True)
    (folder / "1" / "model.py").write_text(_MODEL.format(step_s=step_s))
    (folder / "profile.json").unlink(missing_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["family"]["adapters"]  # which a denoiser that sleeps does not take
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return repository


def _weights_of_the_denoiser(folder: str, names: list[str]) -> set[str]:
    return set(names) if Path(folder).parent.name == UNET else set()
