"""A finishing engine of an ONNX of another origin: ESRGAN-class upscalers, face restoration, background removal.

Such networks take RGB, (n, 3, H, W) from 0 to 1, and answer the same range: of upscalers scale times as large, of
backgrounds one channel of alpha. The graph gets a head and a tail that make it pictures of 8 bits, (n, H, W, C).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from build_engines.export.config import config_text
from build_engines.export.runtimes import Arrays, choose_backend
from build_engines.illustrate.refusal import Refused
from build_engines.upscale.engine import contract_of, place, write_manifest
from serve.ensembles.illustrator.finishing.finishing import BACKGROUND, TASKS, UPSCALE

MAX_BYTES = 2**30
OVERLAP_PX = 16
"""ESRGAN's networks see further, but hardly heed what is further away."""
TILE_PX = 128
BACKGROUND_PX = 320
"""A network that takes a background away sees the picture whole, at this size (that of U²-Net) where its file names
none."""
_PROBE_PX = 64


def import_onnx(
    source: Path, name: str, task: str, repository: Path, version: str = "1", side_px: int | None = None
) -> Path:
    """Writes the engine's folder. ``side_px``: of networks that take one size alone, and whose file does not say which.
    Raises Refused with the reason for what is no such network."""
    if task not in TASKS:
        raise Refused(f"{task!r} is none of {', '.join(TASKS)}")
    model = _read(source)
    side_px = side_px or _declared_side(model)
    wrapped = _wrapped(model)
    staged = repository / f".{name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    path = staged / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save_model(wrapped, str(path))
    try:
        side, scale, channels = _probed(path, task, side_px)
        contract = contract_of(name, 3, channels)
        tile = side_px or TILE_PX
        pixels: Arrays = {"image": np.random.default_rng(0).integers(0, 256, (1, tile, tile, 3), np.uint8)}
        backend, benchmark = choose_backend(path, contract, {"tile": pixels}, ("onnxruntime",))
        finish: dict[str, Any] = {"task": task, "scale": scale, "channels": 3}
        finish |= {"side_px": side} if side else {"overlap_px": OVERLAP_PX, "tile_px": TILE_PX}
        (staged / "config.pbtxt").write_text(config_text(contract, backend))
        command = f"python -m build_engines finish --task {task} --source {source.name} --name {name}"
        command += f" --side {side_px}" if side_px else ""
        facts = {"finish": finish, "command": command, "backend_benchmark": benchmark}
        write_manifest(staged, name, version, facts)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return place(staged, repository / name)


def _read(source: Path) -> onnx.ModelProto:
    if not source.is_file():
        raise Refused(f"there is no file {source}")
    if source.stat().st_size > MAX_BYTES:
        raise Refused(f"{source.name} has more than {MAX_BYTES} bytes")
    try:
        model = onnx.load(str(source), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and the checker's own errors have no common class
        raise Refused(f"{source.name} is no ONNX model: {str(error).splitlines()[0][:200]}") from None
    graph = model.graph
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer):
        raise Refused("its weights are in another file; save them in one")
    inputs = [one for one in graph.input if one.name not in {t.name for t in graph.initializer}]
    if len(inputs) != 1 or not graph.output:
        raise Refused("it must have one input, a picture")
    shape = inputs[0].type.tensor_type.shape.dim
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT or len(shape) != 4 or shape[1].dim_value not in (0, 3):
        raise Refused("its input must be float32 of shape (n, 3, height, width)")
    return model


def _declared_side(model: onnx.ModelProto) -> int | None:
    """Of a network whose file fixes one side for both. None where sides are free, or differ."""
    known = {tensor.name for tensor in model.graph.initializer}
    (entry,) = (one for one in model.graph.input if one.name not in known)
    height, width = (one.dim_value for one in entry.type.tensor_type.shape.dim[2:])
    return height if height == width and height > 0 else None


def _wrapped(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with pictures of 8 bits as its input ``image`` and its output ``result``."""
    prefixed = onnx.compose.add_prefix(model, "network/")
    graph = prefixed.graph
    known = {t.name for t in graph.initializer}
    entry = next(one for one in graph.input if one.name not in known).name
    made = graph.output[0].name
    for name, value in {"full": 255.0, "least": 0.0, "most": 1.0}.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "full"], [entry]),
        *graph.node,
        helper.make_node("Clip", [made, "least", "most"], ["clipped"]),
        helper.make_node("Mul", ["clipped", "full"], ["levels"]),
        helper.make_node("Round", ["levels"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["result"], perm=[0, 2, 3, 1]),
    ]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3]))
    graph.output.append(helper.make_tensor_value_info("result", TensorProto.UINT8, ["n", "H", "W", "C"]))
    return prefixed


def _probed(path: Path, task: str, side_px: int | None) -> tuple[int | None, int, int]:
    """(fixed side, scale, channels) of the network, from what it answers. Raises Refused."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    side = side_px or (BACKGROUND_PX if task == BACKGROUND else _PROBE_PX)
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    try:
        (answer,) = session.run(["result"], {"image": pixels})
    except Exception as error:  # the runtime's errors have no common class
        what = str(error).splitlines()[0][:200]
        hint = "" if side_px else "; if it takes one size alone, name it with --side"
        raise Refused(f"it does not run on a picture of {side} x {side}: {what}{hint}") from None
    height, width, channels = answer.shape[1:]
    if task == UPSCALE:
        scale = height // side
        if channels != 3 or scale < 2 or (height, width) != (side * scale, side * scale):
            raise Refused(
                f"it makes {answer.shape[1:]} of {pixels.shape[1:]}: an upscaler makes a multiple of the sides"
            )
        if side_px:
            raise Refused("an upscaler of one size alone cannot work in tiles")
        return None, scale, 3
    if (height, width) != (side, side) or (channels == 1) != (task == BACKGROUND) or channels not in (1, 3):
        wanted = "one channel" if task == BACKGROUND else "three channels"
        raise Refused(f"it makes {answer.shape[1:]} of {pixels.shape[1:]}: {wanted} of the same sides are needed")
    return side_px or (side if task == BACKGROUND else None), 1, channels
