"""Prompt debiasing against language models whose answers are known, and models as they lie in folders."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from csd_blender.backend.distillation.prompt_debiasing import (
    debias,
    debias_job,
    listed_words,
    load_view_chances,
    pmi_ratio,
)
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.errors import JobError
from csd_blender.job.models.language import find_language_model, lasting_language_name
from csd_blender.job.presets.texture import texture_job
from tests.support.tiny_language import PIECES, write_bert

FRONT, SIDE, BACK, OVERHEAD = range(4)


class Bayes:
    """A language model in closed form: P(v | words) ∝ Π P(word | v), with an even prior over the views."""

    def __init__(self, **chances: tuple[float, float, float, float]):
        self.chances = {word: torch.tensor(row, dtype=torch.float64) for word, row in chances.items()}
        self.asked: list[str] = []

    def __call__(self, prompts):
        self.asked += list(prompts)
        rows = []
        for prompt in prompts:
            row = torch.ones(4, dtype=torch.float64)
            for word in prompt.split():
                row = row * self.chances.get(word, torch.ones(4, dtype=torch.float64))
            rows.append(row / row.sum())
        return torch.stack(rows)


# ---- the formula ---------------------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_the_mean_over_keeping_and_removing_the_word():
    full = torch.tensor([0.7, 0.2, 0.05, 0.05], dtype=torch.float64)
    part = torch.full((4,), 0.25, dtype=torch.float64)
    expected = [0.7 / 0.475, 0.2 / 0.225, 0.05 / 0.15, 0.05 / 0.15]
    assert pmi_ratio(full, part).tolist() == pytest.approx(expected, rel=1e-12)
    assert pmi_ratio(full, full).tolist() == [1.0] * 4


def test_a_word_goes_where_it_makes_the_view_less_likely_and_nowhere_else():
    told = debias("a smiling robot", Bayes(smiling=(0.8, 0.4, 0.1, 0.3)))
    # P(v | …): with the word 0.5, 0.25, 0.0625, 0.1875, without 0.25 each: ratios 1.33, 1, 0.4, 0.86
    assert told.prompts == {
        "front": "a smiling robot",
        "side": "a smiling robot",
        "back": "a robot",
        "overhead": "a robot",
    }
    assert told.dropped == {"front": (), "side": (), "back": ("smiling",), "overhead": ("smiling",)}
    assert told.stats == {"dropped_words": {"back": ["smiling"], "overhead": ["smiling"]}}
    assert told.note.endswith(": “smiling” in the back view; “smiling” in the overhead view.")


def test_a_ratio_of_exactly_the_threshold_stays():
    exact = torch.tensor(0.475, dtype=torch.float64)
    assert float(pmi_ratio(exact, torch.tensor(0.525, dtype=torch.float64))) == 0.95  # to the last bit

    def at(value):
        return lambda prompts: torch.tensor([[value, 1 - value, 0, 0], [0.525, 0.475, 0, 0]], dtype=torch.float64)

    assert debias("robot", at(0.475)).dropped["front"] == ()
    assert debias("robot", at(0.4749999)).dropped["front"] == ("robot",)


def test_views_that_are_impossible_either_way_keep_their_words():
    assert debias("robot", lambda prompts: torch.tensor([[1.0, 0, 0, 0]] * 2)).dropped["back"] == ()


def test_words_are_judged_alone_and_twice_the_same_word_is_two_words():
    model = Bayes(smiling=(0.8, 0.4, 0.1, 0.3))
    told = debias("  a smiling \t smiling robot ", model)
    assert model.asked == [
        "a smiling smiling robot", "smiling smiling robot", "a smiling robot", "a smiling robot", "a smiling smiling",
    ]  # fmt: skip
    assert told.prompts["back"] == "a robot" and told.dropped["back"] == ("smiling", "smiling")


def test_only_listed_words_may_go_whatever_their_case_and_punctuation():
    model = Bayes(**{"Smiling,": (0.8, 0.4, 0.1, 0.3), "eyes": (0.8, 0.4, 0.1, 0.3)})
    prompt = "a Smiling, robot with eyes"
    assert debias(prompt, model).prompts["back"] == "a robot with"
    model.asked.clear()
    told = debias(prompt, model, listed_words("smiling, grin"))
    assert told.prompts["back"] == "a robot with eyes"
    assert len(model.asked) == 2  # the whole prompt, and that without the one word that may go
    assert debias(prompt, model, ["grin"]).prompts["back"] == prompt


def test_where_every_word_goes_the_prompt_is_empty():
    told = debias("smiling eyes", Bayes(smiling=(8, 4, 1, 3), eyes=(8, 4, 1, 3)))
    assert told.prompts["back"] == "" and told.prompts["front"] == "smiling eyes"


# ---- models in folders ---------------------------------------------------------------------------------------------


@pytest.fixture
def bert(tmp_path):
    return write_bert(tmp_path / "bert")


def test_a_bert_is_asked_at_its_mask_for_the_four_words(bert):
    chances = load_view_chances(str(bert))
    prompts = ["a red robot", "a smiling red robot", "[MASK] robot"]
    found = chances(prompts)
    model, words = BertForMaskedLM.from_pretrained(bert).eval(), PIECES.split()
    for prompt, row in zip(prompts, found, strict=True):
        pieces = prompt.replace("smiling", "smil ##ing").split()
        sentence = ["[CLS]", *"this image is depicting a [MASK] view of".split(), *pieces, "[SEP]"]
        ids = torch.tensor([[words.index(piece) for piece in sentence]])
        with torch.no_grad():
            every = model(ids).logits[0, 6].softmax(0)
        four = every[[words.index(view) for view in ("front", "side", "back", "overhead")]]
        assert row.tolist() == pytest.approx((four / four.sum()).tolist(), abs=1e-5)


def test_long_prompts_are_read_as_far_as_the_model_can(bert):
    chances = load_view_chances(str(bert))
    assert torch.isfinite(chances(["red robot " * 200])).all()


def test_weights_of_the_published_kind_load(bert):
    """BERT is published with a pooler, a second head, and older names of its layer norms."""
    file = bert / "model.safetensors"
    tensors = load_file(file)
    before = load_view_chances(str(bert))(["a red robot"])
    tensors["bert.pooler.dense.weight"], tensors["cls.seq_relationship.weight"] = torch.ones(16, 16), torch.ones(2, 16)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in tensors.items()}  # fmt: skip
    save_file(old, file, metadata={"format": "pt"})
    assert torch.equal(load_view_chances(str(bert))(["a red robot"]), before)


def refused(place, code="language_model_unreadable") -> str:
    with pytest.raises(JobError) as caught:
        load_view_chances(str(place))
    assert caught.value.code == code
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message and "iffusion model" not in message.split(":")[0]
    return message


def test_what_is_missing_or_broken_is_named(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "no-such-model" in refused("no-such-model", "language_model_missing")

    def broken(change) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bert, copy)
        change(copy)
        return refused(copy)

    def config(**changes):
        def change(folder):
            file = folder / "config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))

        return change

    def weights(change):
        def apply(folder):
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

        return apply

    def pickled(folder):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"PK")

    lost = "bert.encoder.layer.0.output.dense.weight"
    assert "config.json" in broken(lambda f: (f / "config.json").unlink())
    assert "model.safetensors is missing" in broken(lambda f: (f / "model.safetensors").unlink())
    assert "pickle" in broken(pickled)
    assert "program" in broken(lambda f: (f / "modeling.py").write_text("1/0"))
    assert "auto_map" in broken(config(auto_map={"AutoModelForMaskedLM": "x.Y"}))
    assert "tokenizer" in broken(lambda f: [p.unlink() for p in f.glob("*token*")])
    assert "damaged" in broken(lambda f: (f / "tokenizer.json").write_text("{"))
    assert "does not make" in broken(lambda f: (f / "tokenizer.json").write_text("{}"))
    assert "diffusion model and no language model" in broken(lambda f: (f / "model_index.json").write_text("{}"))
    assert "BertModel" in broken(config(architectures=["BertModel"]))
    assert "no masked language model" in broken(config(model_type="clip"))
    assert lost in broken(weights(lambda t: t.pop(lost)))
    assert "invalid numbers" in broken(weights(lambda t: t[lost].fill_(float("nan"))))
    assert "another shape" in broken(config(intermediate_size=8))


def test_a_vocabulary_without_a_view_word_is_refused(tmp_path):
    message = refused(write_bert(tmp_path / "less", words=PIECES.replace("overhead", "above")))
    assert "“overhead” as one word" in message


def test_the_hubs_cache_is_found_by_name(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("someone/bert", "bert-tiny"):
        state = tmp_path / "hub" / ("models--" + name.replace("/", "--")) / "snapshots" / ("a" * 40)
        shutil.copytree(bert, state)
        assert find_language_model(name) == state and lasting_language_name(name) == name
        (state / "model.safetensors").unlink()
        assert "model.safetensors" in refused(name)
    assert lasting_language_name(str(bert)) == str(bert) and lasting_language_name("mini") == "mini"


# ---- jobs ----------------------------------------------------------------------------------------------------------


def told(job):
    events = []
    found = debias_job(job, Reporter(emit=events.append))
    return found, [(event.code, event.text) for event in events]


def test_a_job_tells_what_it_leaves_out(monkeypatch):
    from csd_blender.backend.distillation import prompt_debiasing

    model = Bayes(smiling=(8, 4, 1, 3), robot=(8, 4, 1, 8))
    monkeypatch.setattr(prompt_debiasing, "load_view_chances", lambda name: model)
    found, notes = told(texture_job("smiling robot", debias_prompt="x", debias_words="smiling, grinning"))
    assert found.prompts["back"] == "robot"
    assert [code for code, _ in notes] == ["debias_words", "debiased"]
    assert "“grinning” is not in the prompt" in notes[0][1]
    found, notes = told(texture_job("smiling robot", debias_prompt="x"))
    assert found.prompts["back"] == ""
    assert notes[-1][0] == "debiased_all" and "the back view" in notes[-1][1]
    model.chances.clear()
    _, notes = told(texture_job("smiling robot", debias_prompt="x"))
    assert notes == [("debiased", "The language model found no word of the prompt that does not go with a side; "
                                  "all of them stay.")]  # fmt: skip


def test_without_the_setting_or_without_view_words_no_language_model_is_loaded():
    assert told(texture_job("smiling robot")) == (None, [])
    assert told(texture_job("smiling robot", debias_prompt="no such", view_prompts=False)) == (None, [])


def test_fingerprints_of_jobs_without_it_are_as_they_were():
    plain = texture_job("a mug")
    assert plain.spec_hash() != texture_job("a mug", debias_prompt="mini").spec_hash()
    data = plain.to_json()
    del data["debias_prompt"], data["debias_words"]
    assert type(plain).from_json(data).spec_hash() == plain.spec_hash()
