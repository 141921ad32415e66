"""Encoders of search that see the mean colour of a picture, and know the words red, green and blue."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SIDE_PX, TOKENS = 8, 6
WORDS = ("<pad>", "<start>", "<end>", "<unk>", "red", "green", "blue")


def write_encoders(folder: Path) -> Path:
    """The engines `search_picture` and `search_text` in ``folder``, which is returned."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    picture = _model(
        ("image", TensorProto.UINT8, [SIDE_PX, SIDE_PX, 3]),
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["sums"], keepdims=0),
        ],
        [numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    table = np.zeros((len(WORDS), 3), np.float32)
    table[4:] = np.eye(3)
    text = _model(
        ("ids", TensorProto.INT64, [TOKENS]),
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axes"], ["sums"], keepdims=0),
        ],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    for name, model in (("search_picture", picture), ("search_text", text)):
        (folder / name / "1").mkdir(parents=True)
        onnx.save_model(model, str(folder / name / "1" / "model.onnx"))
        stated = {"side_px": SIDE_PX, "tokens": TOKENS, "embedding": 3}
        (folder / name / "manifest.json").write_text(json.dumps({"name": name, "search": stated}))
    (folder / "search_text" / "tokenizer.json").write_text(tokenizer.to_str())
    return folder


def _model(
    given: tuple[str, int, list[int]], nodes: list[onnx.NodeProto], weights: list[TensorProto]
) -> onnx.ModelProto:
    """Ends in the unit vector of ``sums``."""
    name, kind, shape = given
    last = helper.make_node("LpNormalization", ["sums"], ["embedding"], axis=1, p=2)
    graph = helper.make_graph(
        [*nodes, last],
        name,
        [helper.make_tensor_value_info(name, kind, ["batch", *shape])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
