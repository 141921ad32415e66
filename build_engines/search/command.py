"""``python -m build_engines train search``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from build_engines.data.icons import VAR
from build_engines.stages import checked_stages

STAGES = ("train", "engine")
WEIGHTS = VAR / "search"
DEFAULT_MINUTES = 5.0


def train_search(
    folder: Path, minutes: float | None, threads: int, repository: Path, version: str, stages: Sequence[str]
) -> None:
    """Trains the encoders for ``minutes`` of processor time on the data of the illustration family in ``folder``, which
    `train mini --preset rgba --stage data` writes, and writes both engines."""
    from build_engines.mini.training.judges import CaptionJudge
    from build_engines.search.engine import data_facts, write_engines
    from build_engines.search.training import evaluate, read_corpus, read_vocabulary, train

    wanted = checked_stages(stages, STAGES, STAGES)
    limit = minutes or DEFAULT_MINUTES
    missing = [n for n in ("pictures.npy", "pictures.json", "words.json", "vectors.npy", "origin.json") if not
               (folder / n).is_file()]  # fmt: skip
    if missing:
        raise typer.BadParameter(f"has no {missing[0]}; train mini --preset rgba makes it", param_hint="--folder")
    corpus, vocabulary = read_corpus(folder), read_vocabulary(folder)
    if "train" in wanted:
        network, steps = train(corpus, vocabulary, limit, threads)
        network.save_pretrained(WEIGHTS)
        (WEIGHTS / "steps").write_text(str(steps))
    if "engine" not in wanted:
        return
    network, steps = CaptionJudge.from_pretrained(WEIGHTS), int((WEIGHTS / "steps").read_text())
    report = evaluate(network.eval(), vocabulary, corpus, steps)
    typer.echo(
        f"the right picture of {report.among} for captions of {report.pictures} icons that it has not seen: first "
        f"{report.first:.1%}, among five {report.of_five:.1%}, median rank {report.median_rank:g}; {steps} steps"
    )
    if report.first < 5 / report.among:
        raise typer.BadParameter("it finds hardly more than chance: train it longer", param_hint="--minutes")
    facts = {
        "command": f"python -m build_engines train search --minutes {limit:g}",
        "data": {"sets": data_facts(folder)},
    }
    for written in write_engines(network, vocabulary, report, facts, repository, version):
        typer.echo(f"wrote {written}")
