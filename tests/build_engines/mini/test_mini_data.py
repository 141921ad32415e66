"""Pictures, captions and colours of the starter family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mini_icons import icons
from transformers import PreTrainedTokenizerFast

from build_engines.mini import holdout, pictures
from build_engines.mini.captions import CaptionRule, caption, colourable, flippable, vocabulary
from build_engines.mini.colours import COLOURS, dominant, recolour
from build_engines.mini.pictures import Pictures, Variant
from build_engines.mini.tokenizer import BOS, EOS, MAX_TOKENS, PAD, UNKNOWN, encode, make_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def drawn() -> Pictures:
    return pictures.render_all(icons())


@pytest.mark.parametrize("colour", COLOURS)
def test_a_recoloured_picture_has_the_named_colour(drawn: Pictures, colour: str) -> None:
    for index, entry in enumerate(drawn.entries):
        if entry.own_colour is not None:
            found = dominant(recolour(drawn.pixels[index], colour))
            assert found is not None
            assert found.clear
            assert (entry.name, found.word) == (entry.name, colour)


def test_recolouring_leaves_other_hues_and_the_background(drawn: Pictures) -> None:
    index = next(i for i, e in enumerate(drawn.entries) if (e.name, e.set) == ("tree", "noto"))
    made = recolour(drawn.pixels[index], "blue")
    np.testing.assert_array_equal(made[0, 0], [255, 255, 255])
    trunk, before = made[52, 32].astype(int), drawn.pixels[index][52, 32].astype(int)
    assert np.abs(trunk - before).max() < 12
    assert made[36, 32, 2] > 180 > made[36, 32, 0]


def test_a_picture_without_colour_cannot_be_recoloured(drawn: Pictures) -> None:
    index = next(i for i, e in enumerate(drawn.entries) if e.name == "penguin")
    assert drawn.entries[index].own_colour is None
    with pytest.raises(ValueError, match="no clear dominant colour"):
        recolour(drawn.pixels[index], "red")


def test_own_colours_are_what_a_person_would_say(drawn: Pictures) -> None:
    named = {e.name: e.own_colour for e in drawn.entries if e.set == "noto"}
    assert (named["apple"], named["lemon"], named["kite"], named["tree"]) == ("red", "yellow", "blue", "green")


@pytest.mark.parametrize("name", ["left-arrow", "keycap-7", "three-oclock", "alarm-clock", "input-latin-letters"])
def test_what_has_a_side_is_not_mirrored(name: str) -> None:
    assert not flippable(name)
    assert flippable("hot-air-balloon")


@pytest.mark.parametrize("name", ["red-heart", "woman-singer", "pirate-flag", "black-cat", "orange-circle"])
def test_people_flags_and_coloured_names_get_no_colour(name: str) -> None:
    assert not colourable(name)
    assert colourable("strawberry")


def test_captions_name_colour_object_and_style() -> None:
    assert caption("hot-air-balloon", "flat", "blue") == "blue hot air balloon, flat"
    assert caption("owl", "noto") == "owl, noto"


def test_the_rule_of_captions() -> None:
    rng, rule = np.random.default_rng(0), CaptionRule()
    made = [rule.write(rng, "tree", "noto", None, "green", "<unk>") for _ in range(4000)]
    assert made.count("") / 4000 == pytest.approx(0.10, abs=0.02)
    assert sum(c.startswith("green") for c in made) / 4000 == pytest.approx(0.45, abs=0.03)
    assert sum("noto" not in c and c != "" for c in made) / 4000 == pytest.approx(0.072, abs=0.02)
    coloured = {rule.write(rng, "tree", "noto", "pink", "green", "<unk>") for _ in range(200)}
    assert not any("green" in c for c in coloured)


def test_held_out_combinations_are_in_no_variant() -> None:
    assert len(set(holdout.COLOURED)) == len(set(holdout.RESTYLED)) == 30
    names = {name for name, _ in holdout.COLOURED + holdout.RESTYLED}
    assert all(colourable(name) for name, _ in holdout.COLOURED)
    some = icons()
    renamed = [type(i)(i.set, n, i.body, i.view_box) for i, n in zip(some * 10, sorted(names), strict=False)]
    renamed += [type(i)({"noto": "fluent-emoji-flat"}.get(i.set, "noto"), i.name, i.body, i.view_box) for i in renamed]
    made = pictures.render_all(renamed)
    shown = {(made.entries[v.index].name, made.entries[v.index].set, v.colour) for v in pictures.variants(made)}
    assert not [s for s in shown if holdout.held_colour(s[0], s[2]) or holdout.held_icon(s[0], s[1])]
    everything = {(made.entries[v.index].name, v.colour) for v in pictures.variants(made, held_too=True)}
    assert {n for n, c in everything if holdout.held_colour(n, c)}


def test_variants_are_mirrored_only_where_that_is_right(drawn: Pictures) -> None:
    made = pictures.variants(drawn)
    arrows = [v for v in made if drawn.entries[v.index].name == "left-arrow"]
    assert arrows
    assert not any(v.flip for v in arrows)
    lemon = next(i for i, e in enumerate(drawn.entries) if e.name == "lemon")
    assert {Variant(lemon, None, False), Variant(lemon, None, True)} <= set(made)
    np.testing.assert_array_equal(drawn.draw(Variant(2, None, True)), drawn.pixels[2][:, ::-1])


def test_the_tokenizer_is_loaded_by_transformers(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(vocabulary(["hot-air-balloon", "apple"]))
    ids = encode(tokenizer, ["A Red apple, flat!", "", "the quux", "apple " * 40])
    words = tokenizer.get_vocab()
    assert ids[0].tolist() == [BOS, words["red"], words["apple"], words["flat"], EOS, *[PAD] * (MAX_TOKENS - 5)]
    assert ids[1, :3].tolist() == [BOS, EOS, PAD]
    assert ids[2, :4].tolist() == [BOS, UNKNOWN, EOS, PAD]
    assert (ids[3, 0], ids[3, -1]) == (BOS, EOS)
    save_tokenizer(tokenizer, tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded.model_max_length == MAX_TOKENS
    found = loaded("A Red apple, flat!", padding="max_length")["input_ids"]
    assert found == ids[0].tolist()
