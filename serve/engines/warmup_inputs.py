"""Zero inputs for an engine's configuration: warm-up at load, and health probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Numpy types by the type names of a config (TYPE_ before the protocol's name). Strings are object arrays.
CONFIG_TYPES: dict[str, np.dtype[Any]] = {
    "TYPE_BOOL": np.dtype(np.bool_),
    "TYPE_UINT8": np.dtype(np.uint8),
    "TYPE_UINT16": np.dtype(np.uint16),
    "TYPE_UINT32": np.dtype(np.uint32),
    "TYPE_UINT64": np.dtype(np.uint64),
    "TYPE_INT8": np.dtype(np.int8),
    "TYPE_INT16": np.dtype(np.int16),
    "TYPE_INT32": np.dtype(np.int32),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_FP16": np.dtype(np.float16),
    "TYPE_FP32": np.dtype(np.float32),
    "TYPE_FP64": np.dtype(np.float64),
    "TYPE_STRING": np.dtype(np.object_),
}


def warmup_inputs(config: Mapping[str, Any], batch_size: int = 1) -> dict[str, NDArray[Any]]:
    """Zeros (empty strings) for every required input of ``config`` in Triton's JSON form.

    A dynamic axis has the length that the first sample of ``model_warmup`` gives it, or 1.
    """
    samples = config.get("model_warmup") or [{}]
    warm = samples[0].get("inputs", {})
    lead = (batch_size,) if int(config["max_batch_size"]) > 0 else ()
    arrays = {}
    for entry in config["input"]:
        if entry.get("optional"):
            continue
        dims = [int(length) for length in entry["dims"]]
        free = [int(length) for length in warm.get(entry["name"], {"dims": [1] * len(dims)})["dims"]]
        shape = lead + tuple(chosen if length < 0 else length for chosen, length in zip(free, dims, strict=True))
        dtype = CONFIG_TYPES[entry["data_type"]]
        arrays[entry["name"]] = np.full(shape, b"" if dtype == np.object_ else 0, dtype)
    return arrays
