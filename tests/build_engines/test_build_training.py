"""Rewards, metrics, environment, and one tiny training from icons to engines."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from drawn_icons import icons
from gymnasium.utils.env_checker import check_env
from torch import nn

from build_engines.export.config import config_text
from build_engines.export.contracts import CONTRACTS
from build_engines.export.engine import Provenance, write_engine
from build_engines.export.parity import ParityError, check
from build_engines.labels.candidates import BASELINE, candidates, sample_vtracer
from build_engines.labels.collect import Drawn
from build_engines.labels.measure import Judge
from build_engines.labels.store import Labels, LabelStore
from build_engines.train.calibrate import set_temperature
from build_engines.train.environment import BatchedTracing, TracingEnv, predicted, rows_of
from build_engines.train.joint import JointData, JointSettings, counted, embed, train_joint
from build_engines.train.metrics import calibration_error, quality_metrics
from build_engines.train.networks import LogoType, Quality
from build_engines.train.pictures import Labelled, Pictures, labelled, make_picture
from build_engines.train.policy import PolicySettings, train_policy
from build_engines.train.polish import polish
from build_engines.train.reward import predicted_reward, true_reward
from build_engines.train.rounds import PROPOSED, Ground, propose
from build_engines.train.tier1 import ascend, imitate, imitate_rows
from serve.vector.features import STATISTICS
from serve.vector.parameters import CoverageParameters, VTracerParameters, from_candidate, to_candidate
from serve.vector.structure import STRUCTURE


def test_candidates_start_with_both_defaults_and_repeat() -> None:
    tried = candidates(400, seed=1)
    assert tried[:2] == [BASELINE, CoverageParameters()]
    assert tried == candidates(400, seed=1)
    share = np.mean([isinstance(p, VTracerParameters) for p in tried])
    assert 0.04 < share < 0.13
    assert {p.refine for p in tried if isinstance(p, CoverageParameters)} == {0, 1, 2, 3}


def test_store_reads_back_what_it_wrote(tmp_path) -> None:
    store = LabelStore("tag", tmp_path)
    labels = Labels(np.ones((2, 10), np.float32), np.arange(10, dtype=np.float32).reshape(2, 5))
    assert "logos/a/0" not in store
    store.write("logos/a/0", labels)
    assert "logos/a/0" in store
    np.testing.assert_array_equal(store.read("logos/a/0").measures, labels.measures)


def test_judge_measures_a_real_trace() -> None:
    from build_engines.data.samples import make

    sample = make(icons(1)[0], "clean", 96, "#ffffff", 0)
    measured = Judge(sample).measure(BASELINE)
    assert 0.8 < measured.ssim <= 1
    assert 0.7 < measured.fidelity <= 1
    assert measured.bytes > 100
    assert measured.paths >= 1
    assert measured.ms > 0


def test_predicted_reward_is_the_utility_of_what_is_predicted() -> None:
    """The torch formula and `serve.vector.parameters` are one."""
    torch.manual_seed(0)
    quality, embedding = Quality().eval(), torch.rand(6, 512)
    rows = torch.rand(6, 9, 10)
    baseline = torch.from_numpy(to_candidate(BASELINE)).expand(6, 1, -1)
    with torch.no_grad():
        ours = predicted_reward(quality, embedding, rows, 50.0).numpy()
        outputs = quality(embedding, torch.cat([baseline, rows], dim=1))
    ssim, fidelity, size, ms, paths = (o.numpy() for o in outputs)
    measures = np.stack([ssim, fidelity, 2**size, 2**paths, 2**ms], axis=-1)
    np.testing.assert_allclose(ours, true_reward(measures[:, 1:], measures[:, 0], 50.0), rtol=2e-3, atol=2e-3)


def test_reward_of_the_baseline_is_zero_and_late_costs() -> None:
    row = np.array([0.9, 0.9, 4000, 10, 100], np.float32)
    better = np.array([0.97, 0.97, 2000, 10, 100], np.float32)
    rewards = true_reward(np.stack([row, better])[None], row[None])
    assert rewards[0, 0] == pytest.approx(0, abs=1e-6)
    assert rewards[0, 1] > math.log(3)
    late = true_reward(better[None, None], row[None], limit_ms=50)
    assert late[0, 0] == pytest.approx(rewards[0, 1] - 1, abs=1e-5)


def test_rounds_propose_the_rules_first_and_then_what_is_predicted_best() -> None:
    torch.manual_seed(0)
    rules = np.stack([to_candidate(CoverageParameters(refine=1))] * 3)
    labels = Labelled(np.arange(3), np.zeros((3, 2, 10), np.float32), np.zeros((3, 2, 5), np.float32))
    ground = Ground([Drawn(icon, 0) for icon in icons(3)], torch.rand(3, 512), rules, labels)
    quality = Quality().eval()
    first, second = propose(quality, ground, 0), propose(quality, ground, 1)
    assert first.shape == second.shape == (3, PROPOSED, 10)
    np.testing.assert_array_equal(first[:, 0], rules)
    np.testing.assert_array_equal(second, propose(quality, ground, 1))
    for row in (*first.reshape(-1, 10), *second.reshape(-1, 10)):
        assert isinstance(from_candidate(row), CoverageParameters | VTracerParameters)
    with torch.no_grad():
        chosen, fixed = (predicted_reward(quality, ground.embedding, torch.from_numpy(r)) for r in (second, first))
    assert chosen.mean() > fixed.mean()


def test_calibration_error_of_certain_and_wrong_is_one() -> None:
    certain = np.eye(4, dtype=np.float32)[[0, 0, 0]]
    assert calibration_error(certain, np.array([1, 2, 3])) == pytest.approx(1.0)
    assert calibration_error(certain, np.array([0, 0, 0])) == pytest.approx(0.0)


def test_temperature_softens_a_head_that_is_too_sure() -> None:
    torch.manual_seed(0)
    head = LogoType()
    nn.init.normal_(head.layers[-1].weight, std=3.0)
    rng, dummy = np.random.default_rng(0), np.zeros((200, 1), np.uint8)
    statistics, structure = (rng.random((200, n), np.float32) for n in (STATISTICS, STRUCTURE))
    shares = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 200)]
    pictures = Pictures(dummy, dummy, statistics, structure, dummy[:, 0], dummy[:, 0], shares)
    assert set_temperature(head, torch.rand(200, 512), pictures) > 1.5


def test_type_head_brings_what_is_counted_to_one_scale() -> None:
    """Inside the engine: an input on another scale gives the same answer once the head knows that scale."""
    torch.manual_seed(0)
    head, embedding = LogoType().eval(), torch.rand(50, 512)
    statistics, structure = torch.rand(50, STATISTICS), torch.rand(50, STRUCTURE)
    head.normalise_by(statistics, structure)
    expected = head(embedding, statistics, structure)
    assert expected.std(dim=0).max() > 0.01, "what is counted matters"
    head.normalise_by(9 * statistics - 3, 4 * structure)
    torch.testing.assert_close(head(embedding, 9 * statistics - 3, 4 * structure), expected, atol=1e-4, rtol=1e-3)


def test_quality_metrics_of_a_perfect_prediction() -> None:
    actual = np.log2(np.random.default_rng(0).uniform(0.01, 0.5, (8, 6, 5))).astype(np.float32)
    report = quality_metrics(actual, actual, np.zeros(8, np.int64))
    assert report["fidelity"]["share_within_0.05"] == 1.0
    assert report["ssim"]["spearman"] == pytest.approx(1.0)
    assert report["log2_bytes"]["mean_absolute_error"] == 0.0


def test_environment_keeps_gymnasiums_contract() -> None:
    """D-040: action Box(0, 1, (8,)), observation Box(0, 1, (512,))."""
    embedding = np.random.default_rng(0).random((5, 512), dtype=np.float32)
    env = TracingEnv(embedding, predicted(Quality().eval(), embedding))
    check_env(env, skip_render_check=True)
    assert env.action_space.shape == (8,)
    assert env.observation_space.shape == (512,)


def test_batched_environment_pays_each_its_own() -> None:
    embedding = np.random.default_rng(0).random((5, 512), dtype=np.float32)
    env = BatchedTracing(embedding, lambda index, rows: index + rows[:, 1], count=7)
    seen = env.reset()
    index = np.array([int(np.argmin(np.abs(embedding - s).sum(axis=1))) for s in seen])
    actions = np.linspace(0, 1, 56, dtype=np.float32).reshape(7, 8)
    _, rewards, dones, infos = env.step(actions)
    np.testing.assert_allclose(rewards, index + actions[:, 0], atol=1e-6)
    assert dones.all()
    np.testing.assert_array_equal(infos[3]["terminal_observation"], seen[3])


def test_actions_are_rows_of_the_coverage_tracer() -> None:
    rows = rows_of(np.full((2, 8), 1.7))
    assert isinstance(from_candidate(rows[0]), CoverageParameters)
    assert rows.max() == 1


@pytest.mark.slow
def test_parity_check_refuses_another_network(tmp_path) -> None:
    """D-070: past 0.03 the build fails."""
    torch.manual_seed(0)
    contract = CONTRACTS["logo_type"]
    write_engine("logo_type", LogoType(), Provenance("0", "test", {}), tmp_path)
    other = LogoType()
    nn.init.normal_(other.layers[-1].weight, std=2.0)
    with pytest.raises(ParityError, match="logo_type"):
        check(other, contract, tmp_path / "logo_type" / "1" / "model.onnx")


def test_config_names_the_backend_it_is_given() -> None:
    text = config_text(CONTRACTS["tier1"], "openvino")
    assert 'backend: "openvino"' in text
    assert "INFERENCE_NUM_THREADS" in text


def _tiny_data(folder) -> JointData:
    """20 drawn icons, three VTracer candidates each (the coverage tracer would be compiled first)."""
    drawn = [Drawn(icon, 0) for icon in icons(20)]
    store, rng = LabelStore("tiny", folder), np.random.default_rng(0)
    from build_engines.data import draw

    for picture in drawn:
        judge, tried = Judge(draw(picture.icon, picture.seed)), [BASELINE, sample_vtracer(rng), sample_vtracer(rng)]
        measures = np.stack([judge.measure(p).to_row() for p in tried])
        store.write(picture.name, Labels(np.stack([to_candidate(p) for p in tried]), measures))
    pictures = Pictures.join([make_picture(picture) for picture in drawn])
    found: Labelled = labelled(drawn, store, 3)
    assert len(found.index) == 20
    return JointData(pictures, found)


@pytest.mark.slow
def test_tiny_training_from_icons_to_engines(tmp_path) -> None:
    """All five engines from 20 icons: trained, exported, equal to their networks."""
    torch.set_num_threads(1)
    data = _tiny_data(tmp_path / "labels")
    networks = train_joint(data, JointSettings(steps=60, batch=16), seed=1)
    embedding = embed(networks.features, data.pictures)
    assert embedding.shape == (20, 512)
    assert 0 <= embedding.min() < embedding.max() <= 1
    kinds = networks.logo_type(embedding, *counted(data.pictures)).argmax(dim=1).numpy()
    assert (kinds == data.pictures.kind).mean() > 0.5, "learns its own few pictures"
    networks = polish(networks, data, data, steps=100)
    tier1 = ascend(imitate(embedding, data.labelled, 20), networks.quality, embedding, 10)
    target = np.repeat(to_candidate(CoverageParameters())[None], 20, axis=0)
    taught = imitate_rows(embedding, target, 200)(embedding).detach().numpy()
    assert np.abs(taught - target).max() < 0.2
    known = embedding.numpy()
    reward = predicted(networks.quality, known)
    settings = PolicySettings(steps=512, count=64, real_steps=128, real_count=16)
    policy, act = train_policy(known, reward, reward, known, settings, CoverageParameters().to_unit())
    assert act(known).shape == (20, 8)
    engines = {
        "image_features": networks.features,
        "logo_type": networks.logo_type,
        "quality": networks.quality,
        "tier1": tier1,
        "policy": policy,
    }
    for name, network in engines.items():
        folder = write_engine(name, network, Provenance("test", "pytest", {}, {"steps": 25}), tmp_path / "repository")
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["parity"]["max_abs_error"] < 1e-3
