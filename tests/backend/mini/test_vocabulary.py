# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.mini import vocabulary as voc
from tools.lab.mini.tokenizer import MAX_LENGTH, TOKEN_IDS, encode_words, make_tokenizer


def test_sizes():
    assert len(voc.MATERIALS) >= 16 and len(voc.COLORS) >= 10
    assert len(voc.SHAPES) >= 17 and len(voc.FRONT_SHAPES) >= 6 and "object" in voc.SHAPES
    # The word "orange" and the like must not name two things.
    assert len(set(voc.WORDS)) == len(voc.WORDS)
    assert len(TOKEN_IDS) == len(voc.WORDS) + len(voc.SPECIAL)


def test_synonyms_are_unambiguous():
    others = [s for words in voc.SYNONYMS.values() for s in words]
    assert len(set(others)) == len(others)
    assert not set(others) & set(voc.WORDS)
    assert not set(voc.FILLERS) & (set(others) | set(voc.WORDS))
    assert set(voc.SYNONYMS) <= set(voc.WORDS)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a blue striped mug, front view, flat colors, close-up, blurry",
         ["blue", "striped", "mug", "front", "flat", "closeup", "blurry"]),
        ("A Wooden CHAIR covered in moss", ["wood", "chair", "moss"]),
        ("polka-dotted tv set from above; low quality", ["dotted", "television", "overhead", "lowquality"]),
        ("a grey sphere, studio light, overhead view", ["gray", "ball", "lit", "overhead"]),
        ("gold/zebra", ["gold", "zebra"]),
        ("", []),
        ("   ,. 12", []),
        ("a frobnicated mug", ["mug"]),
    ],
)  # fmt: skip
def test_canonical_words_and_tokens_agree(prompt, words):
    assert voc.canonical(prompt) == words
    ids = make_tokenizer()(prompt, padding="max_length", truncation=True).input_ids
    assert ids == encode_words(words)


def test_every_word_and_synonym_survives_the_tokenizer():
    tokenizer = make_tokenizer()
    for word in voc.WORDS:
        assert tokenizer(word).input_ids[1:-1] == [TOKEN_IDS[word]]
    for word, others in voc.SYNONYMS.items():
        for other in others:
            assert voc.canonical(other) == [word]
            assert tokenizer(other).input_ids[1:-1] == [TOKEN_IDS[word]]


def test_long_prompts_are_cut():
    ids = make_tokenizer()("red " * 100, padding="max_length", truncation=True).input_ids
    assert len(ids) == MAX_LENGTH and ids[-1] == TOKEN_IDS["<eos>"]


def test_unknown_words():
    assert voc.unknown_words("a quantum blue mug with Quantum flux, close-up, low quality") == ["quantum", "flux"]
    assert voc.unknown_words("a wooden chair, overhead view, flat colors") == []


@pytest.mark.parametrize(
    ("azimuth", "elevation", "word"),
    [(0, 0, "front"), (44, 10, "front"), (-46, 10, "side"), (90, 0, "side"), (270, 0, "side"), (180, 0, "back"),
     (-136, 59, "back"), (360, 5, "front"), (400, 5, "front"), (10, 61, "overhead")],
)  # fmt: skip
def test_view_word(azimuth, elevation, word):
    assert voc.view_word(azimuth, elevation) == word


def test_a_view_is_clear_near_its_middle_only():
    assert all(voc.clear_view(azimuth, 10) for azimuth in (0, -29, 61, 119, -90, 151, 180, 209, 331))
    assert not any(voc.clear_view(azimuth, 10) for azimuth in (31, -45, 121, 149, 225, 300))
    assert voc.clear_view(45, 61)


@pytest.mark.parametrize(
    "prompt,words",
    [
        ("красный Кирпич", ["красный", "кирпич"]),
        ("赤いレンガ", ["赤いレンガ"]),
        ("लाल ईंट", ["लाल", "ईंट"]),
        ("🧱🔥, red 👨‍👩‍👧", ["🧱🔥", "👨‍👩‍👧"]),
        ("façade, blue", ["façade"]),
        (",,, 4 ½ !?", []),
    ],
)
def test_words_of_any_alphabet_and_emoji_are_unknown_words(prompt, words):
    assert voc.unknown_words(prompt) == words


def test_every_prompt_without_a_known_word_has_a_warning_that_stays_short():
    class Mini:
        name = "mini"

    words = guidance_words(Mini())
    for prompt in ("красный кирпич", "🧱", ",,,", "a photo of the", "x" * 2000, "k" + " ab cd ef" * 300):
        [sentence] = words.warnings(prompt, "")
        assert len(sentence) < 500
    assert words.warnings("red brick", "") == [] and words.warnings("red brick", " ") == []
    many = " ".join(f"w{a}{b}" for a in "abcdefghij" for b in "abcdefghij")
    assert len(words.warnings(many)[0]) < 500 and "92 other words" in words.warnings(many)[0]
