"""The way from icons to engines, stage by stage. Everything slow is cached under ``var`` and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_engines.data import CONDITIONS, Split, draw, load_split
from build_engines.data.icons import VAR
from build_engines.data.kinds import LOGO_TYPES
from build_engines.export.engine import MODEL_REPOSITORY, Provenance, write_engine
from build_engines.export.served import check_served
from build_engines.fingerprint import fingerprint
from build_engines.labels.collect import Drawn, collect
from build_engines.labels.store import TRACING, LabelStore
from build_engines.presets import Preset
from build_engines.train.calibrate import set_temperature
from build_engines.train.environment import predicted, real
from build_engines.train.joint import JointData, JointNetworks, JointSettings, embed, train_joint
from build_engines.train.metrics import quality_metrics, type_metrics
from build_engines.train.pictures import labelled, prepare
from build_engines.train.policy import PolicySettings, train_policy
from build_engines.train.polish import polish
from build_engines.train.search import compare_tier1, compare_with_search, rules_rows
from build_engines.train.tier1 import ascend, imitate, imitate_rows
from build_engines.train.trial import Trials
from serve.vector.parameters import CoverageParameters

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
    temperature = set_temperature(networks.logo_type, embeddings["val"], data["val"].pictures.kind)
    metrics = _judge(networks, data["test"], embeddings["test"])
    metrics["logo_type"]["temperature"] = round(temperature, 4)

    written: dict[str, torch.nn.Module] = {}

    def write(name: str, network: torch.nn.Module, report: dict[str, Any]) -> None:
        write_engine(name, network, Provenance(run.version, run.command, facts, report), run.repository)
        written[name] = network

    write("image_features", networks.features, {"trained_with": ["logo_type", "quality"]})
    write("logo_type", networks.logo_type, metrics["logo_type"])
    write("quality", networks.quality, metrics["quality"])
    train_actors(run, data, networks, embeddings, write)
    check_served(written, run.repository)


def train_actors(
    run: Run,
    data: dict[Split, JointData],
    networks: JointNetworks,
    embeddings: dict[Split, torch.Tensor],
    write: Callable[[str, torch.nn.Module, dict[str, Any]], None],
) -> None:
    """The two engines that choose parameters, judged by real traces of validation and test pictures."""
    with Trials(run.processes) as trials:
        labels = data["train"].labelled
        imitation = imitate(embeddings["train"][labels.index], labels, run.preset.tier1_steps, run.seed)
        labelled_train = [run.to_label("train")[i] for i in labels.index]
        rules = imitate_rows(embeddings["train"][labels.index], rules_rows(labelled_train), run.preset.tier1_steps)
        starts = {"imitation": imitation, "rules": rules}
        climbed = {
            f"ascent_from_{name}": ascend(start, networks.quality, embeddings["train"], run.preset.tier1_steps)
            for name, start in starts.items()
        }
        val = run.to_label("val")[: run.preset.trial_pictures]
        report, tier1 = compare_tier1({**starts, **climbed}, trials, val, embeddings["val"][: len(val)])
        write("tier1", tier1, report)
        train_embedding = embeddings["train"].numpy()
        real_pictures = [p for p in run.to_label("train") if _is_small(p)]
        index = {p.name: i for i, p in enumerate(run.drawn("train"))}
        settings = PolicySettings(steps=run.preset.policy_steps, real_steps=run.preset.policy_real_steps)
        policy, act = train_policy(
            train_embedding,
            predicted(networks.quality, train_embedding),
            real(trials, real_pictures),
            train_embedding[[index[p.name] for p in real_pictures]],
            settings,
            CoverageParameters().to_unit(),
            run.seed,
        )
        test = run.to_label("test")[: run.preset.trial_pictures]
        comparison = compare_with_search(
            act, tier1, networks.quality, trials, test, embeddings["test"][: len(test)], run.preset.search_tries
        )
        write("policy", policy, {"settings": asdict(settings), "real_trials": comparison})


_NETWORK_SOURCES = ("build_engines/train/networks.py", "build_engines/train/joint.py", "build_engines/train/polish.py")


def _networks(run: Run, data: dict[Split, JointData]) -> JointNetworks:
    """The jointly trained networks: from ``var/networks`` if this very training has been done before."""
    code = fingerprint((*_NETWORK_SOURCES, "build_engines/presets.py", "build_engines/data/kinds.py"))
    path = VAR / "networks" / f"{run.preset.name}-{run.store.folder.name}-{code}-{run.seed}.pt"
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


_LARGEST_REAL_PX = 256
"""Real rewards of the policy come from pictures up to this size: traces there take a few tens of milliseconds."""


def _is_small(picture: Drawn) -> bool:
    return draw(picture.icon, picture.seed).size <= _LARGEST_REAL_PX


def _load(run: Run, split: Split) -> JointData:
    drawn = run.drawn(split)
    pictures = prepare(drawn, f"{run.preset.name}-{split}", run.processes)
    return JointData(pictures, labelled(drawn[: run.preset.labelled[split]], run.store, run.preset.candidates))


def _judge(networks: JointNetworks, data: JointData, embedding: torch.Tensor) -> dict[str, dict[str, Any]]:
    """The metrics of both heads on one split."""
    index = data.labelled.index
    with torch.no_grad():
        probabilities = networks.logo_type(embedding).numpy()
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
