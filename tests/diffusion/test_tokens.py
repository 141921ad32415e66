"""Prompts as chunks of weighted tokens; weights on embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from serve.diffusion.family import TextEncoder
from serve.diffusion.noise import gaussian
from serve.diffusion.tokens import MAX_CHUNKS, PromptTokenizer, encode_all, joined, weigh
from serve.errors import InvalidRequest

WORDS = ["a red apple on a table, flat icon", "the cat with a green hat and 12 buttons (blue)", "smiling face, noto"]


def written(path: Path) -> Path:
    """A small tokenizer of CLIP's kind: byte pairs of lower-case text between two special tokens, cut and padded."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|end|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, end_of_word_suffix="</w>"
    )
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", 0), ("<|end|>", 1)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_id=1, pad_token="<|end|>")
    tokenizer.save(str(path))
    return path


def encoder(**changed: int) -> TextEncoder:
    plain = {"max_tokens": 16, "bos": 0, "eos": 1, "pad": 1, "width": 8}
    return TextEncoder.model_validate({"engine": "tiny_text_encoder", **plain, **changed})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> PromptTokenizer:
    return PromptTokenizer.load(path, encoder())


def test_a_short_plain_prompt_is_what_transformers_makes_of_it(path: Path, tokenizer: PromptTokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<|end|>", model_max_length=16)
    for prompt in ["a red apple", "", "Flat icon, cat"]:
        expected = reference(prompt, padding="max_length", max_length=16, truncation=True).input_ids
        tokens = tokenizer.encode(prompt)
        assert tokens.ids.tolist() == [expected]
        assert tokens.ids.dtype == np.int32
        assert (tokens.weights == 1).all()


def test_a_long_prompt_is_never_cut(tokenizer: PromptTokenizer) -> None:
    prompt = "a red apple, " * 8
    all_ids = tokenizer.tokenizer.encode(prompt, add_special_tokens=False).ids
    tokens = tokenizer.encode(prompt)
    assert tokens.used == len(all_ids) > 14
    assert tokens.ids.shape == tokens.weights.shape == (-(-len(all_ids) // 14), 16)
    assert (tokens.ids[:, 0] == 0).all()
    assert tokens.ids[:, 1:15].ravel()[: len(all_ids)].tolist() == all_ids
    assert (tokens.ids[:, 15] == 1).all()
    assert (tokens.ids[-1, 1 + len(all_ids) % 14 :] == 1).all()


def test_a_prompt_that_fills_its_chunk_needs_no_other(tokenizer: PromptTokenizer) -> None:
    letters = "q" * 14
    assert tokenizer.encode(letters).used == 14
    assert tokenizer.encode(letters).ids.shape[0] == 1
    assert tokenizer.encode(letters + "q").ids.shape[0] == 2


def test_tokens_carry_their_weight(tokenizer: PromptTokenizer) -> None:
    tokens = tokenizer.encode("a (red:1.5) apple")
    a, red, apple = (tokenizer.encode(word).used for word in ("a ", "red", " apple"))
    expected = [1.0, *[1.0] * a, *[1.5] * red, *[1.0] * apple]
    assert tokens.weights[0, : len(expected)].tolist() == expected
    assert (tokens.weights[0, len(expected) :] == 1).all()
    assert tokens.used == a + red + apple


def test_break_begins_a_chunk(tokenizer: PromptTokenizer) -> None:
    tokens = tokenizer.encode("a cat BREAK a red hat")
    assert tokens.ids.shape[0] == 2
    assert (tokens.ids[0] == tokenizer.encode("a cat").ids[0]).all()
    assert (tokens.ids[1] == tokenizer.encode("a red hat").ids[0]).all()


def test_a_prompt_beyond_the_cap_is_refused(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(" BREAK ".join(["cat"] * MAX_CHUNKS)).ids.shape[0] == MAX_CHUNKS
    for prompt in (" BREAK ".join(["cat"] * (MAX_CHUNKS + 1)), "a red apple " * 8_000):
        with pytest.raises(InvalidRequest, match=r"at most 8 chunks of 14 tokens; it takes \d+") as caught:
            tokenizer.encode(prompt, "negative_prompt")
        assert caught.value.field == "negative_prompt"


def test_prompts_and_encoders_come_to_the_same_number_of_chunks(path: Path, tokenizer: PromptTokenizer) -> None:
    """The second encoder, as SDXL's, pads with another token."""
    second = PromptTokenizer.load(path, encoder(pad=0))
    encoded = encode_all([tokenizer, second], {"prompt": "a red apple, " * 8, "negative_prompt": "hat"})
    shapes = {tokens.ids.shape for each in encoded.values() for tokens in each}
    assert len(shapes) == 1
    first, other = encoded["negative_prompt"]
    assert first.used == other.used == tokenizer.encode("hat").used
    assert first.ids[-1].tolist() == [0, 1, *[1] * 14]
    assert other.ids[-1].tolist() == [0, 1, *[0] * 14]
    assert (first.weights[-1] == 1).all()


@given(st.text())
def test_any_prompt_is_tokens_or_a_refusal(tokenizer: PromptTokenizer, prompt: str) -> None:
    try:
        tokens = tokenizer.encode(prompt)
    except InvalidRequest:
        return
    assert tokens.ids.shape == tokens.weights.shape
    assert 1 <= tokens.ids.shape[0] <= MAX_CHUNKS


def test_a_tokenizer_without_the_special_tokens_is_refused(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no token 49406") as caught:
        PromptTokenizer.load(path, encoder(bos=49406))
    assert caught.value.field == "tiny_text_encoder.bos"


def test_weights_multiply_and_the_mean_stays() -> None:
    embeds = gaussian(1, 0, (16, 8)) + 1.0
    weights = np.ones(16, np.float32)
    weights[3:5] = 1.4
    found = weigh(embeds, weights)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(embeds.mean(), rel=1e-5)
    ratio = found / embeds
    assert ratio[3] / ratio[0] == pytest.approx([1.4] * 8, rel=1e-4)
    assert weigh(embeds, np.ones(16, np.float32)) is embeds


@pytest.mark.parametrize("weight", [1.5, 0.0, -2.0])
def test_a_mean_of_nothing_is_not_restored(weight: float) -> None:
    """Embeddings after a normalisation without bias cancel exactly; a ratio of such means would blow them up."""
    embeds = gaussian(1, 0, (16, 8))
    embeds -= embeds.mean(axis=1, keepdims=True)
    weights = np.ones(16, np.float32)
    weights[2] = weight
    found = weigh(embeds, weights)
    assert np.abs(found).max() <= np.abs(embeds).max() * 2 * 2


def test_chunks_are_joined_in_order_each_with_its_own_mean() -> None:
    embeds = gaussian(1, 0, (3, 16, 8)) + 1.0
    weights = np.ones((3, 16), np.float32)
    weights[1, 4] = 2.0
    found = joined(embeds, weights)
    assert found.shape == (48, 8)
    assert (found[:16] == embeds[0]).all()
    assert (found[16:32] == weigh(embeds[1], weights[1])).all()
    assert (found[32:] == embeds[2]).all()
