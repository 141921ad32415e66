"""Where a checkpoint comes from: a folder on this machine, or a repository of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engines.illustrate.refusal import Refused
from build_engines.illustrate.weights import find_weights

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")
"""Folders with weights that are exported; what else a checkpoint holds (a safety checker) is not downloaded."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL = re.compile(r"model_index\.json|atelier\.json|(?:scheduler|tokenizer|tokenizer_2)/[^/]+\.(?:json|txt)")


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
