"""TensorRT plans, on the GPU that will serve them. Needs the package ``tensorrt`` (10 or newer), or its
bindings and the library, and torch with CUDA.

Networks are strongly typed: TensorRT computes in the types of the ONNX. For fp16 the part is traced in float16 with
float32 inputs and outputs (`parts.half_precision`), as diffusers runs it on a GPU. Its parity is checked against the
float32 network like any other. docs/ENGINES.md, "TensorRT, read against its sources", says which claims rest on what.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_engines.export.runtimes import Arrays, Run
from build_engines.illustrate.contracts import Engine, Lengths
from build_engines.illustrate.refusal import Refused

WORKSPACE_BYTES = 8 * 2**30
_TYPES = {"TYPE_FP32": torch.float32, "TYPE_UINT8": torch.uint8, "TYPE_INT32": torch.int32}


def require_gpu(command: str) -> Any:
    """The module ``tensorrt``. Raises Refused, with what to run, where a plan cannot be built."""
    tensorrt = _module()
    missing = [] if tensorrt else ["the package tensorrt"]
    if not torch.cuda.is_available():
        missing.append("a CUDA GPU that torch can use")
    if missing:
        raise Refused(
            f"a TensorRT plan is built on the GPU that serves it; here is missing: {' and '.join(missing)}. "
            "On a GPU host, with the CUDA build of torch, run:\n"
            "  pip install '.[build]' tensorrt==VERSION\n"
            f"  {command}\n"
            "The plan belongs to that GPU and that TensorRT: take the VERSION of the Triton container that will serve "
            "it; docs/DEPLOYMENT.md has an image that does. Without a GPU, --target onnx or --target openvino builds "
            "engines for the CPU."
        )
    return tensorrt


def _module() -> Any:
    """The package, or its bindings alone, which take the library that the system has; None without either."""
    for name in ("tensorrt", "tensorrt_bindings"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


def build_plan(tensorrt: Any, onnx_path: Path, engine: Engine, plan_path: Path, *, tf32: bool) -> None:
    """Compiles ``onnx_path`` with one optimisation profile: batches of 1 to the cap, smallest to largest sizes.

    ``tf32`` lets float32 multiply on tensor cores, with the 10 bits of mantissa that float16 has. Raises Refused.
    """
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # later versions know no other
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise Refused(f"TensorRT cannot read {engine.contract.name}: {errors}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if not tf32:
        config.clear_flag(tensorrt.BuilderFlag.TF32)  # on by default; its 10 bits would not pass for float32
    profile = builder.create_optimization_profile()
    for name, shapes in profile_shapes(engine).items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise Refused(f"TensorRT refuses the sizes of {engine.contract.name}; its log above says why")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused(
            f"TensorRT cannot build {engine.contract.name}; its log above says why. Where memory ran out, --max-side "
            "and --max-batch make the largest shape smaller, which the plan reserves memory for"
        )
    plan_path.write_bytes(bytes(plan))


def profile_shapes(engine: Engine) -> dict[str, list[tuple[int, ...]]]:
    """By input, the smallest, the most usual and the largest shape. Guidance makes two the most usual batch."""
    cap = engine.contract.max_batch_size
    cases: tuple[tuple[int, Lengths], ...] = (
        (1, engine.smallest),
        (min(2, cap), engine.typical),
        (cap, engine.largest),
    )
    return {t.name: [(batch, *t.shape(lengths)) for batch, lengths in cases] for t in engine.contract.inputs}


def open_plan(tensorrt: Any, plan_path: Path, engine: Engine) -> tuple[Run, dict[str, Any]]:
    """The plan on this GPU, with arrays in and out, and what its manifest says of it. Raises Refused."""
    name = engine.contract.name
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
    compiled = runtime.deserialize_cuda_engine(plan_path.read_bytes())
    if compiled is None:
        raise Refused(f"TensorRT cannot read the plan of {name}; its log above says why")
    facts = _facts(tensorrt, compiled)
    context = compiled.create_execution_context()
    if context is None:
        raise Refused(
            f"the GPU has no room for {name}, which reserves {facts['activation_bytes'] / 2**30:.1f} GiB beside its "
            "weights; --max-side and --max-batch make that less"
        )

    def run(inputs: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        held = {name: torch.from_numpy(array).cuda() for name, array in inputs.items()}
        for name, tensor in held.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise Refused(f"{engine.contract.name} does not take {name} of shape {tuple(tensor.shape)}")
        for output in engine.contract.outputs:
            shape = tuple(context.get_tensor_shape(output.name))
            held[output.name] = torch.empty(shape, dtype=_TYPES[output.data_type], device="cuda")
        for name, tensor in held.items():
            context.set_tensor_address(name, tensor.data_ptr())
        torch.cuda.synchronize()  # what was copied is there, whatever stream TensorRT runs on
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise Refused(f"TensorRT cannot run {engine.contract.name}; its log above says why")
        return {output.name: held[output.name].cpu().numpy() for output in engine.contract.outputs}

    return run, facts


def _facts(tensorrt: Any, compiled: Any) -> dict[str, Any]:
    """What a plan belongs to, and the GPU memory that each of its contexts reserves beside the weights."""
    size = getattr(compiled, "device_memory_size_v2", None)  # since TensorRT 10.1
    return {
        "tensorrt": tensorrt.__version__,
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "activation_bytes": int(compiled.device_memory_size if size is None else size),
    }
