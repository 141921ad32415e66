"""The families that a repository holds: their manifests, their engines, and the files that one lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from serve.diffusion.family import Family, Judge, families_in, manifest_of, parse
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD
from serve.errors import EngineUnavailable
from serve.settings import IllustratorSettings

_MAX_BATCH = re.compile(r"^max_batch_size:\s*(\d+)", re.MULTILINE)


def engines_by_family(settings: IllustratorSettings) -> dict[str, tuple[str, ...]]:
    """The engines that each family draws with. Raises EngineUnavailable for a family that is not in the repository,
    InvalidRequest, OSError, ValueError or TypeError for a manifest that cannot be used."""
    families = families_of(settings)
    return {family.name: available_engines(settings.model_repository, family) for family in families}


def families_of(settings: IllustratorSettings) -> list[Family]:
    """Those that the settings name, or all in the repository. Errors as of `engines_by_family`."""
    repository = settings.model_repository
    return [parse(read_manifest(repository, name)) for name in settings.families or families_in(repository)]


def drawing_engines(family: Family) -> tuple[str, ...]:
    """The engines of drawing from a prompt, without the VAE's encoder, which is for input pictures."""
    return (*(encoder.engine for encoder in family.text), family.unet, family.vae_decoder)


def available_engines(repository: Path, family: Family) -> tuple[str, ...]:
    """The engines of drawing, and the VAE's encoder and the judge where there are any."""
    encoder = (family.vae_encoder,) if (repository / family.vae_encoder).is_dir() else ()
    judge, images = judge_in(repository, family), family.image_prompt
    others = (one.engine for one in (judge, images) if one is not None)
    return (*drawing_engines(family), *encoder, *others)


def judge_in(repository: Path, family: Family) -> Judge | None:
    """The family's judge; None where its engine is not in ``repository``."""
    return family.judge if family.judge is not None and (repository / family.judge.engine).is_dir() else None


def find_missing_files(repository: Path, family: Family, owned: bool) -> list[str]:
    """Missing files of the family; engines are checked only if they run from ``repository``."""
    files = [f"{encoder.engine}/tokenizer.json" for encoder in family.text]
    if owned:
        files += [f"{engine}/config.pbtxt" for engine in drawing_engines(family)]
    return [file for file in files if not (repository / file).is_file()]


def max_batch_size(engine: Path) -> int | None:
    """The rows that one request to the engine in this folder may have; None where its configuration is elsewhere."""
    config = engine / "config.pbtxt"
    found = _MAX_BATCH.search(config.read_text()) if config.is_file() else None
    return int(found[1]) if found is not None and int(found[1]) > 0 else None


def read_manifest(repository: Path, family: str) -> dict[str, Any]:
    path = manifest_of(repository, family)
    if not path.is_file():
        raise EngineUnavailable(f"there is no model '{family}' in {repository.name}/; {HOW_TO_BUILD}", "families")
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest
