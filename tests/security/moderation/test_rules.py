"""Prompt rules: words in any spelling, phrases, patterns, and prompts built to be slow (C-166)."""

from __future__ import annotations

import sys

import pytest

from serve.errors import InvalidRequest
from serve.security.moderation.prompt_filter import PromptRules, fold, words
from serve.settings import ModerationSettings, load

WORDS = ("🔪🩸", "gore", "Café Noir", "red army", "裸体", "l33t", "हिंसा", "насилие")


def rules(*listed: str, **more: object) -> PromptRules:
    rule = {"category": "violence", "words": listed or WORDS, "score": 0.75}
    return PromptRules(ModerationSettings(policy="flag", rules=({**rule, **more},)))  # type: ignore[arg-type]


FOUND = {
    "plain": "a picture of gore", "case": "GoRe", "punctuation": "oil painting, (gore:1.3)!", "fullwidth": "ｇｏｒｅ",
    "mathematical": "𝐠𝐨𝐫𝐞", "accents": "gôrë", "stacked marks": "g̸̨o͟r̷e̶", "zero width": "g\u200bo\u200dr\u2060e",
    "soft hyphen": "go\xadre", "filler": "go\u3164re", "cyrillic": "gоrе", "digits": "g0r3", "greek": "gοrε",
    "spelled": "g o r e",
    "spelled after a word of one letter": "a g o r e picture",
    "spelled before others": "g.o.r.e. b c", "spelled and stressed": "a (g:1.1) o r (e) x",
    "with dots": "g.o.r.e", "with hyphens": "g-0-r-3", "phrase": "the Red\n\tARMY marches",
    "phrase over punctuation": "red, army", "accents in the rule": "cafe noir", "a script without spaces": "她是裸体的",
    "read as an l": "1eet", "read as digits": "leet", "hindi": "हिंसा मत", "russian": "НАСИЛИЕ",
    "pictographs": "a🔪\ufe0f🩸!",
}  # fmt: skip
CLEAN = {
    "within a word": "gorengan on a plate", "between words": "ego reset", "half a phrase": "a red scarf",
    "the other way": "army red", "half of a script": "体", "digits alone": "60re 2024 1337", "hindi": "हस",
    "empty": " ", "marks alone": "\u0301\u0301", "apart": "g o r a e", "spelled, and shorter": "a g o r",
}  # fmt: skip


@pytest.mark.parametrize("prompt", FOUND.values(), ids=FOUND)
def test_word_is_found_in_any_spelling(prompt: str) -> None:
    assert rules().find(prompt) == {"violence": 0.75}


@pytest.mark.parametrize("prompt", CLEAN.values(), ids=CLEAN)
def test_other_words_are_not_found(prompt: str) -> None:
    assert rules("gore", "Café Noir", "red army", "裸体", "हिंसा").find(prompt) == {}


STRESSED = ["go(re:1)", "go(r:1.0)e", "g(o)[r]e", "go[(re:1.1)]", "\u202eg((o))re", "r(e:1)d army", "RE[D] BREAK army"]


@pytest.mark.parametrize("prompt", STRESSED)
def test_prompt_weights_within_a_word_are_ignored(prompt: str) -> None:
    assert rules().find(prompt) == {"violence": 0.75}


def test_patterns_match_the_raw_and_the_weighted_prompt() -> None:
    pytest.importorskip("re2")
    matcher = rules("nothing", patterns=(r"\bblood bath\b", r"\(knife:"))
    assert matcher.find("bl(oo:1)d bath") == matcher.find("(knife:1.1)") == {"violence": 0.75}
    assert matcher.find("bl(oo:99)d bath") == {}, "nobody draws that"


def test_lookalike_matching_can_be_disabled() -> None:
    settings = ModerationSettings(policy="flag", lookalikes=False, rules=({"category": "x", "words": ("gore",)},))  # type: ignore[arg-type]
    assert PromptRules(settings).find("g0re gоrе") == {}
    assert PromptRules(settings).find("gôre") == {"x": 1.0}


def test_highest_score_per_category_counts() -> None:
    listed = (
        {"category": "violence", "words": ("gore",), "score": 0.4},
        {"category": "violence", "words": ("gore", "war"), "score": 0.6},
        {"category": "politics", "words": ("war",), "score": 0.2},
    )
    scores = PromptRules(ModerationSettings(policy="flag", rules=listed)).find("war and gore")  # type: ignore[arg-type]
    assert scores == {"violence": 0.6, "politics": 0.2}


@pytest.mark.parametrize(
    "prompt",
    [
        "e" + "\u0301\u0323" * 200_000,
        "\ufdfa" * 40_000,
        "gore " * 10_000,
        "g o r e " * 10_000,
        "red " * 20_000,
        "(e:1)" * 10_000,
    ],
    ids=["marks", "ligatures", "words", "letters", "beginnings", "stress"],
)
@pytest.mark.slow
def test_adversarial_prompts_are_scanned_completely(prompt: str) -> None:
    """Unicode composition of the first would take minutes."""
    assert rules().find(prompt + " gore") == {"violence": 0.75}


def test_folded_text_is_bounded() -> None:
    assert len(fold("\ufdfa" * 1000)) <= 8000
    assert words(fold("Ｆｏｘ’s 2 DENS")) == ["fox", "s", "2", "dens"]


def test_pattern_matching_takes_linear_time() -> None:
    pytest.importorskip("re2")
    matcher = rules("nothing", patterns=(r"(a+)+b", r"\bblood(y|ied)?\b"))
    assert matcher.find("a" * 32_000) == {}
    assert matcher.find("BLOODIED knife") == {"violence": 0.75}


@pytest.mark.parametrize("pattern", ["(", r"(?=look)", r"(x)\1", "(a{1000}){1000}"])
def test_invalid_patterns_are_refused_at_start(pattern: str) -> None:
    pytest.importorskip("re2")
    with pytest.raises(InvalidRequest) as refused:
        rules("nothing", patterns=(pattern,))
    assert refused.value.field == "moderation.rules.0.patterns"


def test_patterns_without_re2_name_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(InvalidRequest, match=r"atelier\[moderation\]"):
        rules("nothing", patterns=("a",))


@pytest.mark.parametrize("listed", ["?!", "\u200b", " "])
def test_phrase_without_a_word_is_refused(listed: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules("fine", listed)
    assert refused.value.field == "moderation.rules.0.words"


def test_yaml_false_means_off() -> None:
    assert load(moderation={"policy": False}).moderation.policy == "off"
    assert load(provenance={"c2pa": False}).provenance.c2pa == "off"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"engine": "safety"}, "moderation"),
        ({"categories": ["nudity"]}, "moderation"),
        ({"rules": [{"category": "Über"}]}, "moderation.rules.0.category"),
        ({"rules": [{"category": "x", "score": 2}]}, "moderation.rules.0.score"),
        ({"thresholds": {"x": -1}}, "moderation.thresholds.x"),
        ({"thresholds": {"nudty": 0.9}, "engine": "safety", "categories": ["nudity"]}, "moderation"),
    ],
)
def test_inconsistent_settings_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(moderation=values)
    assert refused.value.field == field
