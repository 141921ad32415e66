"""The engines that the ensembles run themselves: whether they are there and whole, and the command that brings them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from serve.cli.machine.check import Check, restore_command
from serve.engines.triton import manifests, repository_view
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD
from serve.ensembles.vectorizer.vectorization import ENGINES
from serve.errors import AtelierError, Conflict
from serve.settings import IllustratorSettings, Settings, VectorizerSettings, project_path


def engines(settings: Settings, checksums: bool = False) -> Iterator[Check]:
    """Those that the ensembles run themselves. With ``checksums`` every file is read and compared with its manifest."""
    yield from vectorizer_engines(settings.vectorizer, checksums)
    yield from illustrator_engines(settings.illustrator, checksums)


def vectorizer_engines(settings: VectorizerSettings, checksums: bool = False) -> Iterator[Check]:
    if settings.engines_url is None:
        yield _engines("Vectorizer's engines", settings.model_repository, ENGINES, checksums)


def illustrator_engines(settings: IllustratorSettings, checksums: bool = False) -> Iterator[Check]:
    """Of each family. Without any, the stack starts and does not draw."""
    from serve.ensembles.illustrator.illustrator import engines_by_family  # takes a while to load

    if settings.engines_url is not None:
        return
    repository, required = settings.model_repository, bool(settings.families)
    try:
        families = engines_by_family(settings)
    except (AtelierError, OSError, ValueError, LookupError, TypeError) as error:  # a manifest that cannot be read
        yield Check("Illustrator's engines", False, f"{error} ({repository})", _add_engines(repository), required)
        return
    if not families:
        remedy = f"{_add_engines(repository)}; or {HOW_TO_BUILD}"
        yield Check("Illustrator's engines", False, f"there are none in {repository}", remedy, required)
    for name, needed in families.items():
        yield _engines(f"engines of {name}", repository, needed, checksums, required)


def _engines(name: str, repository: Path, needed: Sequence[str], checksums: bool, required: bool = True) -> Check:
    wrong = [reason for engine in needed if (reason := _engine_fault(repository / engine, checksums))]
    if not wrong:
        compared = ", checksums as in their manifests" if checksums else ""
        return Check(name, True, f"{len(needed)} in {repository}{compared}", required=required)
    return Check(name, False, f"{'; '.join(wrong)} (in {repository})", _add_engines(repository), required)


def _engine_fault(engine: Path, checksums: bool) -> str:
    versions = repository_view.version_numbers(engine)
    if not (engine / repository_view.CONFIG).is_file() or not versions:
        return f"{engine.name} is missing"
    for number in versions if checksums else ():
        if manifests.manifest_path(engine, number) is None:
            continue  # others' engines need none to be served
        try:
            manifests.check_files(engine, number)
        except (Conflict, OSError) as error:
            return str(error)
    return ""


def _add_engines(repository: Path) -> str:
    """The command that brings the engines of Atelier into ``repository``."""
    shipped = project_path("model_repository")
    if repository == shipped or not shipped.is_dir():
        return restore_command("model_repository")
    return f"atelier models add {shipped} --repository {repository}"
