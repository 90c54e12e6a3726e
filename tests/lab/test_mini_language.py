# SPDX-License-Identifier: GPL-3.0-or-later
"""The language model of the mini world: what its sentences rest on, its training, and a floor under the bundled one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from csd_blender.backend.distillation.prompt_debiasing import MINI_LANGUAGE, TEMPLATE, debias, load_view_chances
from csd_blender.backend.mini import vocabulary as voc
from tools.lab.mini.readers import language
from tools.lab.mini.readers.language_card import measure, view_rates
from tools.lab.mini.readers.sights import NAMES, SIZE, Sight, look_around, seen_words
from tools.lab.mini.render import Camera, trace
from tools.lab.mini.shapes import make_shape


def seen(shape: str, *azimuths: float) -> list[frozenset[str]]:
    cameras = [Camera(azimuth, 10.0) for azimuth in azimuths]
    return seen_words(trace(make_shape(shape, np.random.default_rng(3)), cameras, SIZE))


# ---- what is seen --------------------------------------------------------------------------------------------------


def test_every_part_and_feature_of_every_figure_has_its_name():
    assert set(NAMES) == set(voc.FRONT_SHAPES)
    for name, words in NAMES.items():
        shape = make_shape(name, np.random.default_rng(0))
        assert len(words) == len(shape.parts) + len(shape.features), name


def test_a_word_is_said_where_what_it_means_is_seen():
    front, side, back = seen("robot", 0, 90, 180)
    assert {"eyes", "mouth", "face", "antenna"} <= front
    assert back == {"antenna"} and "mouth" not in side
    front, back = seen("car", 0, 180)
    assert "headlights" in front - back and "taillights" in back - front and "wheels" in front & back
    front, back = seen("pumpkin", 0, 180)
    assert "smiling" in front and back == {"stem"}


def test_looks_are_the_same_for_the_same_seed_and_of_clear_views_only():
    first, again = (look_around(5, instances=1, cameras=4) for _ in range(2))
    assert first == again and first != look_around(6, instances=1, cameras=4)
    assert {sight.view for sight in first} <= set(voc.VIEWS) and len(first) < 4 * len(NAMES)


# ---- sentences and words -------------------------------------------------------------------------------------------


def test_captions_tell_nothing_that_is_not_seen():
    rng, sight = np.random.default_rng(0), Sight("robot", "front", frozenset({"eyes", "antenna"}))
    told = [language.caption(sight, rng) for _ in range(300)]
    features = {word for words in told for word in words} & set(language.SEEN)
    assert features == {"eyes", "antenna"}
    assert 0.5 < np.mean(["eyes" in words or "antenna" in words for words in told]) < 0.8
    assert all(word in language.IDS for words in told for word in words)


def test_the_views_word_is_masked_most_often_and_stands_where_it_is_asked_for():
    sights = [Sight("robot", "back", frozenset({"antenna"}))]
    ids, chances = language.make_sentences(sights, np.random.default_rng(1), 64)
    read, attention, wanted = language.masked_batch(ids, chances, np.random.default_rng(2), 512)
    tokenizer = language.make_tokenizer()
    asked = tokenizer(TEMPLATE.format(view="[MASK]", prompt="a robot"))["input_ids"]
    place = asked.index(tokenizer.mask_token_id)
    hidden = read == tokenizer.mask_token_id
    assert 0.65 < hidden[:, place].float().mean() < 0.85
    views = {language.IDS[view] for view in voc.VIEWS}
    assert set(wanted[:, place][hidden[:, place]].tolist()) <= views and bool((wanted[~hidden] == -100).all())
    rest = torch.ones(read.shape[1], dtype=torch.bool)
    rest[place] = False
    assert 0.05 < hidden[:, rest][attention[:, rest] > 0].float().mean() < 0.2
    assert asked[:place] == read[0, :place].tolist() or bool(hidden[0, :place].any())


def test_synonyms_are_one_word_and_other_words_unknown():
    tokenizer = language.make_tokenizer()

    def words(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])[1:-1]

    assert words("A grinning, golden Jackolantern with tail lights") == [
        "a", "smiling", "gold", "pumpkin", "with", "taillights",
    ]  # fmt: skip
    assert words("zzz of the eye") == ["[UNK]", "of", "the", "eyes"]
    for view in voc.VIEWS:
        assert words(f"a {view} view") == ["a", view, "view"]


def test_training_writes_a_folder_that_debiasing_can_load(tmp_path, monkeypatch):
    sights = [Sight("robot", "front", frozenset({"eyes"})), Sight("robot", "back", frozenset({"antenna"}))]
    monkeypatch.setattr(language, "look_around", lambda seed, instances: sights)
    report = language.train_language(tmp_path / "model", steps=2, batch=4, sentences=20)
    assert report["of those"] == 1200
    rows = load_view_chances(str(tmp_path / "model"))(["a robot with eyes"])
    assert rows.shape == (1, 4) and rows.sum().item() == pytest.approx(1.0)
    assert "--seed 7 --steps 2 --batch 4" in (tmp_path / "model" / "README.md").read_text()


def test_rates_are_counts():
    sights = [Sight("robot", "front", frozenset({"eyes"}))] * 3 + [Sight("robot", "front", frozenset())]
    sights += [Sight("robot", "back", frozenset())] * 2
    assert view_rates(sights) == {("robot", "eyes"): {"front": 0.75, "back": 0.0}}


# ---- the bundled one -----------------------------------------------------------------------------------------------


def test_the_bundled_model_is_small_and_in_half_precision():
    files = [file for file in MINI_LANGUAGE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 2e6
    assert [file.name for file in files if file.suffix == ".safetensors"] == ["model.safetensors"]
    assert b'"F16"' in (MINI_LANGUAGE / "model.safetensors").read_bytes()[:4096]


def test_the_bundled_model_leaves_out_what_cannot_be_seen_and_nothing_else():
    """On figures that its training has not seen."""
    report = measure(MINI_LANGUAGE, look_around(99, instances=3, cameras=12))
    assert report["of"] > 20 and report["of these"] > 20
    assert report["hidden words dropped"] > 0.85
    assert report["visible words kept"] > 0.85
    assert report["colors, materials and shapes kept"] > 0.97


def test_eyes_are_left_out_behind():
    told = debias("a orange pumpkin with eyes", load_view_chances("mini"), ["eyes"])
    assert told.prompts["back"] == "a orange pumpkin with"
    assert told.prompts["front"] == "a orange pumpkin with eyes"
