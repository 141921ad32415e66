"""The way from icons to engines, stage by stage. Everything slow is cached under ``var`` and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_engines.data import CONDITIONS, Split, load_split
from build_engines.data.icons import VAR
from build_engines.data.kinds import LOGO_TYPES
from build_engines.export.engine import MODEL_REPOSITORY, Provenance, write_engine
from build_engines.export.served import check_served
from build_engines.fingerprint import fingerprint
from build_engines.labels.collect import Drawn, collect
from build_engines.labels.store import PICTURES, TRACING, LabelStore
from build_engines.presets import Preset
from build_engines.train.actors import choose_tier1, learn_in_rounds, make_policy
from build_engines.train.calibrate import set_temperature
from build_engines.train.joint import JointData, JointNetworks, JointSettings, counted, embed, train_joint
from build_engines.train.metrics import quality_metrics, type_metrics
from build_engines.train.pictures import labelled, prepare
from build_engines.train.polish import polish, views_of
from build_engines.train.rounds import Ground
from build_engines.train.search import rules_rows
from build_engines.train.trial import Trials

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """One build: how much, on how many processes, where to."""

    preset: Preset
    processes: int = 2
    repository: Path = MODEL_REPOSITORY
    version: str = "1"
    seed: int = 0
    labels_tag: str | None = None

    @property
    def command(self) -> str:
        return f"python -m build_engines all --preset {self.preset.name}"

    def drawn(self, split: Split) -> list[Drawn]:
        """Every picture of a split; the labelled ones come first."""
        icons = load_split(split)[: self.preset.icons[split]]
        return [Drawn(icon, seed) for seed in range(self.preset.draws if split == "train" else 1) for icon in icons]

    def to_label(self, split: Split) -> list[Drawn]:
        return self.drawn(split)[: self.preset.labelled[split]]

    @property
    def store(self) -> LabelStore:
        """Labels of the tracers as they are now, or those named by ``labels_tag``."""
        return LabelStore(self.labels_tag or f"{fingerprint(TRACING)}-{self.preset.candidates}")


def make_labels(run: Run) -> None:
    """Traces and measures: about 60 ms a pair on one core."""
    for split in SPLITS:
        collect(run.to_label(split), run.preset.candidates, run.store, run.processes)


def make_engines(run: Run) -> None:
    """Trains on what `make_labels` measured and writes all five engines."""
    torch.manual_seed(run.seed)
    data = {split: _load(run, split) for split in SPLITS}
    facts = _facts(run, data)
    networks = _networks(run, data)
    embeddings = {split: embed(networks.features, data[split].pictures) for split in SPLITS}
    temperature = set_temperature(networks.logo_type, embeddings["val"], data["val"].pictures)
    with Trials(run.processes) as trials:
        grounds = {split: _ground(run.to_label(split), data[split], embeddings[split]) for split in SPLITS}
        views = views_of(networks.features, data["train"].pictures)[:, data["train"].labelled.index]
        quality, grounds = learn_in_rounds(
            networks.quality, grounds, views, run.preset.rounds, run.preset.round_steps, trials, run.store
        )
        networks = JointNetworks(networks.features, networks.logo_type, quality)
        metrics = _judge(networks, data["test"], embeddings["test"])
        metrics["logo_type"]["temperature"] = round(temperature, 4)
        pairs = sum(int(np.prod(ground.labels.measures.shape[:2])) for ground in grounds.values())
        metrics["quality"]["labelled_pairs_after_rounds"] = pairs
        written: dict[str, torch.nn.Module] = {}

        def write(name: str, network: torch.nn.Module, report: dict[str, Any]) -> None:
            write_engine(name, network, Provenance(run.version, run.command, facts, report), run.repository)
            written[name] = network

        write("image_features", networks.features, {"trained_with": ["logo_type", "quality"]})
        write("logo_type", networks.logo_type, metrics["logo_type"])
        write("quality", networks.quality, metrics["quality"])
        tier1, report = choose_tier1(quality, grounds, embeddings["train"], trials, run.preset.tier1_steps)
        write("tier1", tier1, report)
        policy, report = make_policy(run.preset, quality, tier1, grounds, embeddings["train"], trials, run.seed)
        write("policy", policy, report)
    check_served(written, run.repository)


def _ground(pictures: list[Drawn], data: JointData, embedding: torch.Tensor) -> Ground:
    """The labelled pictures of a split."""
    index = data.labelled.index
    chosen = [pictures[i] for i in index]
    return Ground(chosen, embedding[index], rules_rows(chosen), data.labelled)


_NETWORK_SOURCES = (
    "build_engines/train/networks.py",
    "build_engines/train/joint.py",
    "build_engines/train/polish.py",
    "build_engines/data/kinds.py",
    *PICTURES,
)


def _networks(run: Run, data: dict[Split, JointData]) -> JointNetworks:
    """The jointly trained networks: from ``var/networks`` if this very training has been done before."""
    code = fingerprint(_NETWORK_SOURCES)
    steps = f"{run.preset.draws}-{run.preset.joint_steps}-{run.preset.head_steps}"
    path = VAR / "networks" / f"{run.preset.name}-{run.store.folder.name}-{code}-{steps}-{run.seed}.pt"
    if path.is_file():
        networks = JointNetworks.fresh()
        for module, state in zip(networks.modules(), torch.load(path, weights_only=True), strict=True):
            module.load_state_dict(state)
        networks.train(False)
        return networks
    networks = train_joint(data["train"], JointSettings(run.preset.joint_steps), run.seed)
    networks = polish(networks, data["train"], data["val"], run.preset.head_steps, run.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save([module.state_dict() for module in networks.modules()], path)
    return networks


def _load(run: Run, split: Split) -> JointData:
    drawn = run.drawn(split)
    pictures = prepare(drawn, f"{run.preset.name}-{split}", run.processes)
    return JointData(pictures, labelled(drawn[: run.preset.labelled[split]], run.store, run.preset.candidates))


def _judge(networks: JointNetworks, data: JointData, embedding: torch.Tensor) -> dict[str, dict[str, Any]]:
    """The metrics of both heads on one split."""
    index = data.labelled.index
    with torch.no_grad():
        probabilities = networks.logo_type(embedding, *counted(data.pictures)).numpy()
        guessed = networks.quality.logarithms(embedding[index], torch.from_numpy(data.labelled.candidates)).numpy()
    conditions = data.pictures.condition
    return {
        "logo_type": type_metrics(probabilities, data.pictures.kind, conditions, data.pictures.clear),
        "quality": quality_metrics(guessed, data.labelled.logarithms, conditions[index]),
    }


def _facts(run: Run, data: dict[Split, JointData]) -> dict[str, Any]:
    """What the manifests say about the data."""
    return {
        "split_by": "sha256 of the stem of the icon's name",
        "splits": {
            split: {
                "icons": len(load_split(split)[: run.preset.icons[split]]),
                "pictures": len(part.pictures),
                "labelled_pictures": len(part.labelled.index),
                "labelled_pairs": int(np.prod(part.labelled.measures.shape[:2])),
                "types": dict(zip(LOGO_TYPES, np.bincount(part.pictures.kind, minlength=4).tolist(), strict=True)),
            }
            for split, part in data.items()
        },
        "conditions": list(CONDITIONS),
        "labels": run.store.folder.name,
        "seed": run.seed,
    }
