"""`AdaptedModel`: an engine whose rows may use adapters (LoRAs, ControlNets, image prompts), each row its own.

A batch without adapters runs the plain model. Any other runs ``adapted.onnx``, the same network with the adapters'
arrays as inputs that the rows share: the low-rank factors of all LoRAs in the batch one below the other, and for each
row the gain of each of them. ControlNets run here too, on the rows that use them, so that residuals stay in this
process. Adapters are files of one folder (`serve.engines.adapter_files`): they come and go without a reload.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.engines.adapter_files import IDS, SCALES, adapter_path
from serve.engines.backends import ADAPTED_MODEL, ADAPTERS_DESCRIPTION, ADAPTERS_VARIABLE
from serve.engines.backends.batch import Arrays, Run, RunFailed
from serve.engines.backends.contract import Contract

PARAMETER = "adapters"
"""The config's parameter: the part of a LoRA's file that is this engine's, such as ``unet``."""
STACK_BYTES = 4 * 1024**3
"""Of the factors of all LoRAs of a batch. Above it each request runs alone, with at most four."""
CACHE_BYTES = 1024**3
"""Of adapters' arrays in memory; more are read again."""

OpenModel = Callable[[Path], Run]


class AdaptedModel:
    """``plain`` runs the engine's own model, ``open_model`` opens another ONNX file of its folder."""

    def __init__(self, contract: Contract, plain: Run, open_model: OpenModel) -> None:
        folder = contract.model_path.parent
        self._part = contract.parameters[PARAMETER]
        self._batch = contract.max_batch_size
        self._plain = plain
        self._folder = Path(os.environ.get(ADAPTERS_VARIABLE, "."))
        description = json.loads((folder / ADAPTERS_DESCRIPTION).read_text())
        self._widths: Mapping[str, int] = {
            group: sum(inputs * kernel**2 + outputs for _, inputs, outputs, kernel in layers)
            for group, layers in description["layers"].items()
        }
        self._residuals: Sequence[str] = description["residuals"]
        self._image_prompt = description["image_prompt"]
        self.lazy = bool(description.get("lazy"))
        open_one = partial(_first_use, open_model) if self.lazy else open_model
        self._adapted = open_one(folder / ADAPTED_MODEL)
        self._controls = {name: open_one(folder / one["file"]) for name, one in description["controls"].items()}
        self._files: OrderedDict[int, Arrays] = OrderedDict()
        self._stacked: dict[str, tuple[tuple[int, ...], NDArray[Any]]] = {}

    def warm_up(self, inputs: Arrays, names: Sequence[str]) -> None:
        """One run with no adapter in effect. Raises RunFailed."""
        inputs = {name: array for name, array in inputs.items() if name not in (IDS, SCALES)}
        shape = len(next(iter(inputs.values()))), 1
        self._adapted({**inputs, **self._feeds(inputs, np.zeros(shape, np.int64), np.zeros(shape, np.float32))}, names)

    def run(self, inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        """Raises RunFailed, also for an adapter whose file is not there."""
        inputs = dict(inputs)
        ids, scales = inputs.pop(IDS, None), inputs.pop(SCALES, None)
        if ids is None or scales is None or not (scales.any() and ids[scales != 0].any()):
            return self._plain(inputs, names)
        return self._adapted({**inputs, **self._feeds(inputs, np.where(scales != 0, ids, 0), scales)}, names)

    def _feeds(self, inputs: Arrays, ids: NDArray[Any], scales: NDArray[Any]) -> Arrays:
        used = {int(number): self._file(int(number)) for number in np.unique(ids) if number}
        stacked = sum(
            array.nbytes
            for arrays in used.values()
            for key, array in arrays.items()
            if key.startswith(f"{self._part}.")
        )
        if stacked > STACK_BYTES:
            raise RunFailed("the LoRAs of this batch take too much memory together")  # each request alone does not
        feeds: Arrays = {}
        for group in self._widths:
            feeds |= self._low_rank(group, used, ids, scales)
        if self._image_prompt is not None:
            feeds |= self._references(used, ids, scales)
            feeds |= self._masks(used, ids, scales)
        if self._residuals:
            feeds |= self._control(inputs, used, ids, scales)
        return feeds

    def _low_rank(self, group: str, used: Mapping[int, Arrays], ids: NDArray[Any], scales: NDArray[Any]) -> Arrays:
        """The factors of a group, (ranks, width), and each row's gains, (rows, ranks)."""
        key = f"{self._part}.{group}"
        numbers = tuple(number for number, arrays in used.items() if key in arrays)
        known, factors = self._stacked.get(group, ((-1,), np.zeros(0)))
        if known != numbers:
            parts = [used[number][key] for number in numbers]
            factors = np.concatenate(parts) if parts else np.zeros((1, self._widths[group]), np.float32)
            self._stacked[group] = numbers, factors
        columns = [
            np.repeat(np.where(ids == number, scales, 0).sum(axis=1, keepdims=True), len(used[number][key]), axis=1)
            for number in numbers
        ]
        gains = np.concatenate(columns, axis=1) if columns else np.zeros((len(ids), 1))
        return {f"lora_{group}": factors, f"lora_{group}_gains": gains.astype(np.float32)}

    def _references(self, used: Mapping[int, Arrays], ids: NDArray[Any], scales: NDArray[Any]) -> Arrays:
        """Tokens of the references of each row, (rows, most, tokens, width), and scales by block."""
        prompt = self._image_prompt
        own = _with_tokens(used, ids, scales)
        most = max(1, *map(len, own)) if own else 1
        tokens = np.zeros((len(ids), most, prompt["tokens"], prompt["width"]), np.float32)
        gains = np.zeros((len(ids), most, len(prompt["blocks"])), np.float32)
        for row, references in enumerate(own):
            for place, (number, scale) in enumerate(references):
                tokens[row, place] = used[number]["tokens"]
                gains[row, place] = scale * used[number]["blocks"]
        return {"image_tokens": tokens, "image_scales": gains}

    def _masks(self, used: Mapping[int, Arrays], ids: NDArray[Any], scales: NDArray[Any]) -> Arrays:
        """Of the same references over the positions of each level, (rows, most, positions); where no reference of the
        batch has a mask, one one."""
        own = _with_tokens(used, ids, scales)
        most, feeds = max(1, *map(len, own)) if own else 1, {}
        for level in sorted(set(self._image_prompt.get("levels", ()))):
            name = f"image_mask_{level}"
            sizes = [used[number][name].size for row in own for number, _ in row if name in used[number]]
            feeds[name] = np.ones((len(ids), most, sizes[0]) if sizes else (1, 1, 1), np.float32)
            for row, references in enumerate(own):
                for place, (number, _) in enumerate(references):
                    if name in used[number]:
                        feeds[name][row, place] = used[number][name]
        return feeds

    def _control(self, inputs: Arrays, used: Mapping[int, Arrays], ids: NDArray[Any], scales: NDArray[Any]) -> Arrays:
        """Residuals of all ControlNets, summed by row; where no row has any, one zero that is added everywhere."""
        sums: list[NDArray[Any]] | None = None
        for name, run in self._controls.items():
            pairs = [
                (row, int(ids[row, slot]), scales[row, slot])
                for row, slot in zip(*np.nonzero(ids), strict=True)
                if str(used[int(ids[row, slot])].get("control", "")) == name
            ]
            for start in range(0, len(pairs), self._batch):
                members = pairs[start : start + self._batch]
                rows = [row for row, _, _ in members]
                own = {key: array[rows] for key, array in inputs.items()}
                own["control"] = np.stack([used[number]["picture"] for _, number, _ in members])
                found = run(own, self._residuals)
                if sums is None:
                    sums = [np.zeros((len(ids), *residual.shape[1:]), np.float32) for residual in found]
                for total, residual in zip(sums, found, strict=True):
                    for (row, _, scale), one in zip(members, residual, strict=True):
                        total[row] += scale * one
        if sums is None:
            sums = [np.zeros((1, 1, 1, 1), np.float32)] * len(self._residuals)
        return dict(zip(self._residuals, sums, strict=True))

    def _file(self, number: int) -> Arrays:
        if number in self._files:
            self._files.move_to_end(number)
            return self._files[number]
        try:
            with np.load(adapter_path(self._folder, number), allow_pickle=False) as file:
                arrays = {
                    name: file[name] for name in file.files if "." not in name or name.startswith(f"{self._part}.")
                }
        except (OSError, ValueError) as error:
            raise RunFailed(f"there is no adapter {number:x} ({type(error).__name__})") from None
        self._files[number] = arrays
        while len(self._files) > 1 and _bytes(self._files) > CACHE_BYTES:
            self._files.popitem(last=False)
        return arrays


def _first_use(open_model: OpenModel, path: Path) -> Run:
    """A function that opens ``path`` when it is first called. Raises FileNotFoundError for one that is not there."""
    if not path.is_file():
        raise FileNotFoundError(path)
    opened: list[Run] = []

    def run(inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        if not opened:
            opened.append(open_model(path))
        return opened[0](inputs, names)

    return run


def with_adapters(contract: Contract, plain: Run, open_model: OpenModel) -> Run:
    """``plain``, or for an engine that takes adapters a function that runs it with them. Raises if it cannot run."""
    if PARAMETER not in contract.parameters:
        return plain
    try:
        model = AdaptedModel(contract, plain, open_model)
        if not model.lazy:
            model.warm_up(contract.warmup_inputs(1), [spec.name for spec in contract.outputs])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise contract.load_error(f"{ADAPTERS_DESCRIPTION} cannot be used: {error!r}") from error
    except RunFailed as error:
        raise contract.load_error(f"{ADAPTED_MODEL} cannot run on zeros: {error}") from error
    return model.run


def _with_tokens(used: Mapping[int, Arrays], ids: NDArray[Any], scales: NDArray[Any]) -> list[list[tuple[int, float]]]:
    """The references of each row, with their scales."""
    return [
        [
            (int(number), scale)
            for number, scale in zip(row, gains, strict=True)
            if "tokens" in used.get(int(number), ())
        ]
        for row, gains in zip(ids, scales, strict=True)
    ]


def _bytes(files: Mapping[int, Arrays]) -> int:
    return sum(array.nbytes for arrays in files.values() for array in arrays.values())
