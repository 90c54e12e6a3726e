"""Jobs whose prompts a language model debiases: the text encoder hears them, and the result tells what was left out."""

from __future__ import annotations

import pytest

from csd_blender.backend.distillation.prompt_debiasing import debias, load_view_chances
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output import texture
from csd_blender.backend.pipelines.text_to_3d import output
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from tests.support.tiny_jobs import TINY, after, box, merged, run
from tests.support.tiny_language import write_bert

PROMPT = "a smiling red robot"


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    for place, name, value in (
        (output, "FILM_FRAMES", 2), (output, "FILM_SIZE", 16), (texture, "TURNTABLE_SIZE", 16),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, value)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("language") / "bert")


@pytest.fixture(scope="module")
def expected(bert):
    found = debias(PROMPT, load_view_chances(str(bert)), ["smiling", "red"])
    assert any(found.dropped.values())  # else this file tests nothing
    return found


def listening(model):
    """The model, with all texts that its encoder gets from now on."""
    heard, encode = [], model.encode_prompts
    model.encode_prompts = lambda prompts: heard.extend(prompts) or encode(prompts)
    return heard


def folder_of(kind, path, model, bert, **settings):
    settings |= {"debias_prompt": str(bert), "debias_words": "red, smiling", "extra_words": ""}
    if kind == "text-to-3d":
        return JobFolder.create(path, text_to_3d_job(PROMPT, model=model, **merged(TINY, settings)))
    tiny = {"steps": 4, "views": 1, "texture_size": 64, "preview_interval": 0, "device": "cpu"}
    folder = JobFolder.create(path, texture_job(PROMPT, model=model, **tiny, **settings))
    save_npz(folder.mesh_path, box())
    return folder


@pytest.mark.parametrize("kind", ["texture", "text-to-3d"])
def test_each_view_gets_its_own_prompt_and_the_result_says_what_was_left_out(
    kind, tmp_path, tiny_folder, bert, expected
):
    models = ModelCache()
    heard = listening(models.get(str(tiny_folder), "cpu"))
    folder = folder_of(kind, tmp_path / "job", str(tiny_folder), bert)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    for view, prompt in expected.prompts.items():
        assert f"{prompt}, {view} view" in heard
        if prompt != PROMPT:
            assert f"{PROMPT}, {view} view" not in heard
    assert PROMPT in heard  # what names no view keeps all words
    record = read_result(folder.path)
    assert record.timings["dropped_words"] == expected.stats["dropped_words"]
    assert record.licences[f"language model {bert}"].startswith("unknown")
    note = {"code": "debiased", "text": expected.note}
    assert note in record.warnings
    assert [body for name, body in events if name == "warning" and body["code"] == "debiased"] == [note]


@pytest.mark.parametrize("kind", ["texture", "text-to-3d"])
def test_a_resumed_job_goes_on_with_the_same_prompts(kind, tmp_path, tiny_folder, bert, expected):
    models = ModelCache()
    folder = folder_of(kind, tmp_path / "job", str(tiny_folder), bert)
    run(folder, models, stop=after(2, "leave"))
    heard = listening(models.get(str(tiny_folder), "cpu"))
    outcome, _ = run(folder, models, resume=True)
    assert outcome.type == "result", outcome
    assert {f"{prompt}, {view} view" for view, prompt in expected.prompts.items()} <= set(heard)
    assert read_result(folder.path).timings["dropped_words"] == expected.stats["dropped_words"]


@pytest.mark.parametrize("kind", ["texture", "text-to-3d"])
def test_without_the_language_model_the_job_ends_in_a_sentence(kind, tmp_path, tiny_folder, bert):
    folder = folder_of(kind, tmp_path / "job", str(tiny_folder), tmp_path / "nowhere")
    outcome, _ = run(folder, ModelCache())
    assert (outcome.type, outcome.code) == ("error", "language_model_missing")
    assert "nowhere" in outcome.detail
