"""Where a checkpoint comes from (a folder, or a repository of the hub), and which of its files hold weights.

Only safetensors: a pickle can run any code when it is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engines.illustrate.refusal import Refused

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae", "judge")
"""Folders with weights that are exported; what else a checkpoint holds (a safety checker) is not downloaded."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL = re.compile(r"model_index\.json|atelier\.json|(?:scheduler|tokenizer|tokenizer_2)/[^/]+\.(?:json|txt)")
_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "judge": "diffusion_pytorch_model"}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_VARIANTS = (None, "fp16")


@dataclass(frozen=True)
class Source:
    """``revision`` is the commit of a hub repository, or what the caller calls a local folder's state."""

    name: str
    revision: str | None
    folder: Path

    def files(self) -> list[str]:
        """Relative names of the files at most one folder deep."""
        found = [*self.folder.glob("*"), *self.folder.glob("*/*")]
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())


def locate(source: str, revision: str | None = None) -> Source:
    """The folder ``source``, or the hub repository of that id, downloaded. Raises Refused."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Source(source, revision, folder)
    if folder.is_file():
        raise Refused(
            f"{source} is a file. Convert a single-file checkpoint to a folder first: "
            "StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)"
        )
    if not _HUB_ID.fullmatch(source):
        raise Refused(f"{source} is neither a folder nor an id of the Hugging Face hub (OWNER/NAME)")
    return _download(source, revision)


def _download(hub_id: str, revision: str | None) -> Source:
    """Exactly the files that the export needs, at one commit, through the hub client's own cache."""
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        listed = snapshot_download(hub_id, revision=revision, dry_run=True)
        names, commit = [file.filename for file in listed], listed[0].commit_hash
        if "model_index.json" not in names:
            raise Refused(f"{hub_id} is not in diffusers' layout: it has no model_index.json")
        index = json.loads(Path(hf_hub_download(hub_id, "model_index.json", revision=commit)).read_text())
        folder = snapshot_download(hub_id, revision=commit, allow_patterns=needed(index, names))
    except (OSError, ValueError) as error:  # the hub client's own errors are of these kinds
        reason = str(error).strip().splitlines()[0]
        raise Refused(
            f"{hub_id} cannot be downloaded ({type(error).__name__}: {reason}). Where the hub can be reached, run "
            f"'hf download {hub_id} --local-dir FOLDER' and give --source FOLDER; a gated one needs 'hf auth login'"
        ) from error
    return Source(hub_id, commit, Path(folder))


def needed(index: dict[str, Any], names: list[str]) -> list[str]:
    """Which of a repository's ``names`` to download for the parts that its ``index`` (model_index.json) lists."""
    wanted = [name for name in names if _SMALL.fullmatch(name)]
    for part in PARTS:
        if index.get(part, [None])[0]:
            wanted += [f"{part}/config.json", *find_weights(part, names).files]
    return wanted


@dataclass(frozen=True)
class Weights:
    """``files`` are relative to the checkpoint; ``variant`` is what ``from_pretrained`` takes to find them."""

    files: tuple[str, ...]
    variant: str | None


def find_weights(part: str, names: Collection[str]) -> Weights:
    """The weights of the folder ``part`` among the checkpoint's file ``names``: full precision first, then fp16.

    Raises Refused when there are none, or only pickles.
    """
    stem = _STEMS.get(part, "model")
    for variant in _VARIANTS:
        pattern = _pattern(part, stem, variant)
        files = tuple(sorted(name for name in names if pattern.fullmatch(name)))
        if files:
            return Weights(files, variant)
    if any(name.startswith(f"{part}/") and name.endswith(_PICKLES) for name in names):
        raise Refused(
            f"{part}/ holds its weights as pickle only, which is never opened: convert it where you trust it, "
            "with DiffusionPipeline.from_pretrained(SOURCE).save_pretrained(FOLDER, safe_serialization=True)"
        )
    raise Refused(f"{part}/ has no {stem}.safetensors: the checkpoint is incomplete")


def _pattern(part: str, stem: str, variant: str | None) -> re.Pattern[str]:
    """One file, or shards with their index."""
    dotted = f".{variant}" if variant else ""
    one = re.escape(f"{stem}{dotted}.safetensors")
    shard = re.escape(f"{stem}{dotted}") + r"-\d+-of-\d+\.safetensors"
    index = re.escape(f"{stem}.safetensors.index{dotted}.json")
    return re.compile(f"{re.escape(part)}/(?:{one}|{shard}|{index})")
