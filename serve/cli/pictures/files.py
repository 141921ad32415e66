"""Which picture becomes which file: sources, folders, names that would collide."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from serve.errors import AtelierError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".ico", ".tif", ".tiff"}

SVG = "svg"
_SUFFIXES = {".svg", ".svgz", ".pdf", ".eps", ".dxf", ".png"}


def plan(pictures: list[Path], output: str | None, suffix: str | None = SVG) -> list[tuple[Path, Path | None]]:
    """(source, target) pairs; ``None``: standard output."""
    sources = list(dict.fromkeys(source for picture in pictures for source in _sources(picture)))
    if not sources:
        raise AtelierError(f"there are no pictures ({', '.join(sorted(PICTURES))}) in {pictures[0]}")
    if len(pictures) == 1 and pictures[0].is_file() and output:
        if output == "-":
            return [(sources[0], None)]
        target = Path(output)
        return [(sources[0], target / f"{sources[0].stem}.{suffix}" if target.is_dir() else target)]
    if output and not _may_be_folder(Path(output)):
        raise AtelierError(f"--output {output} is no folder, which a folder or several pictures need")
    return list(_in_folder(sources, Path(output) if output else None, f".{suffix}").items())


def _may_be_folder(output: Path) -> bool:
    is_file = output.exists() or str(output) == "-" or output.suffix.lower() in _SUFFIXES
    return output.is_dir() or not is_file


def _in_folder(sources: list[Path], folder: Path | None, suffix: str) -> dict[Path, Path | None]:
    """Target by source, in ``folder`` or beside it; the source's suffix is kept where names would collide."""

    def beside(source: Path, name: str) -> Path:
        return (folder or source.parent) / f"{name}{suffix}"

    shared = Counter(beside(source, source.stem) for source in sources)
    found: dict[Path, Path] = {}  # by target
    for source in sources:
        plain = beside(source, source.stem)
        target = plain if shared[plain] == 1 else beside(source, source.name)
        if target in found:
            raise AtelierError(f"{found[target]} and {source} would both become {target}; convert them apart")
        found[target] = source
    return {source: target for target, source in found.items()}


def _sources(picture: Path) -> list[Path]:
    if picture.is_file():
        return [picture]
    try:
        return sorted(path for path in picture.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise AtelierError(f"the folder {picture} cannot be read: {error.strerror}") from None
