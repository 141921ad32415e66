"""Weighted prompts: the notation, and that no text is lost or crashes the parser, however it is written."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.diffusion.prompt import MAX_WEIGHT, Piece, parse
from serve.errors import InvalidRequest

UP, DOWN = 1.1, pytest.approx(1 / 1.1)


def pieces(prompt: str) -> list[tuple[str, float]]:
    (section,) = parse(prompt)
    return [(piece.text, piece.weight) for piece in section]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("a (red) apple", [("a ", 1), ("red", UP), (" apple", 1)]),
        ("a [red] apple", [("a ", 1), ("red", DOWN), (" apple", 1)]),
        ("(red:1.3)", [("red", 1.3)]),
        ("(red: .5 )", [("red", 0.5)]),
        ("(red:-1)", [("red", -1)]),
        ("(red:2.)", [("red", 2)]),
        ("((red))", [("red", pytest.approx(1.21))]),
        ("(red (apple:2):0.5)", [("red ", 0.5), ("apple", 1)]),
        ("([red])", [("red", 1)]),
        ("(a:b:1.2)", [("a:b", 1.2)]),
        (r"\(red\) \[a\] \\", [(r"(red) [a] " + "\\", 1)]),
        (r"(a\):1.2)", [("a)", 1.2)]),
        (r"a\b", [(r"a\b", 1)]),
        ("a :( b (red:1.2)", [("a :( b ", 1), ("red", 1.2)]),
        ("a (red", [("a (red", 1)]),
        ("red) apple]", [("red) apple]", 1)]),
        ("red:1.5)", [("red:1.5)", 1)]),
        ("(cat [with hat:1.5)", [("cat [with hat", 1.5)]),
        ("(red:1.2.3)", [("red:1.2.3", UP)]),
        ("(red:٣)", [("red:٣", UP)]),
        ("[red:1.5]", [("red:1.5", DOWN)]),
        ("", []),
        ("()", []),
    ],
)
def test_the_notation(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert pieces(prompt) == expected


def test_break_begins_a_section() -> None:
    assert parse("a cat  BREAK  (a BREAK dog) BREAK") == (
        (Piece("a cat", 1.0),),
        (Piece("a", UP),),
        (Piece("dog", UP),),
    )
    assert parse("BREAKFAST") == ((Piece("BREAKFAST", 1.0),),)
    assert parse("BREAK BREAK") == ((),)


@given(st.text(alphabet=st.characters(exclude_characters="\\()[]:")))
def test_text_without_notation_is_itself(prompt: str) -> None:
    if not re.search(r"\bBREAK\b|[\ud800-\udfff]", prompt):
        assert "".join(text for text, _ in pieces(prompt)) == prompt


ANY = st.text(alphabet=st.one_of(st.sampled_from("\\()[]: \n:.1-+"), st.characters(exclude_categories=["Cs"])))


@given(ANY)
def test_nothing_crashes_and_no_letter_is_lost(prompt: str) -> None:
    try:
        found = pieces(prompt)
    except InvalidRequest:
        return
    assert [c for c in prompt if c.isalpha()] == [c for text, _ in found for c in text if c.isalpha()]
    assert all(abs(weight) <= MAX_WEIGHT for _, weight in found)


@given(ANY)
def test_escaped_text_is_itself(text: str) -> None:
    escaped = re.sub(r"([\\()\[\]])", r"\\\1", text)
    if not re.search(r"\bBREAK\b", text):
        assert pieces(escaped) == ([(text, 1.0)] if text else [])


@given(st.floats(-MAX_WEIGHT, MAX_WEIGHT), st.text(alphabet="abc ,", min_size=1))
def test_written_weights_are_read(weight: float, text: str) -> None:
    written = f"{weight:.3f}"
    assert pieces(f"({text}:{written})") == [(text, float(written))]


@pytest.mark.parametrize("prompt", ["(a:11)", "(a:-10.1)", "(" * 30 + "a" + ")" * 30, "(a:" + "9" * 400 + ")"])
def test_a_weight_out_of_range_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="from -10 to 10") as caught:
        parse(prompt, "negative_prompt")
    assert caught.value.field == "negative_prompt"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Unicode"):
        parse("a \ud800 b")


@pytest.mark.parametrize(
    "unit", ["(", "[", "[(", "(a:1)", ":", ": ", ":1", ":1.", " ", "BREAK ", "\\", "\\(", "()[", "(]", "([)]"]
)
@pytest.mark.slow
def test_a_hostile_prompt_does_not_hang_the_parser(unit: str) -> None:
    """These take well under a second; a parser whose time is the square of 100 kB takes minutes."""
    prompt = unit * (100_000 // len(unit))
    start = time.perf_counter()
    parse(prompt)
    assert time.perf_counter() - start < 30
