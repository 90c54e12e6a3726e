"""Jobs of all kinds through a small encoder: that it is at work, that they resume, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from csd_blender.backend.cli.generate import with_lasting_names
from csd_blender.backend.geometry.files.colors import Colors, save_colors
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.files import INPUT_COLORS
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.picture import picture_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from tests.support.tiny_encoders import write_small_encoder
from tests.support.tiny_jobs import TINY, after, albedo, answer, box, run, same_result
from tests.support.tiny_models import write_if

pytestmark = pytest.mark.usefixtures("every_step_tells", "no_models_of_the_user")

SETTINGS = {"steps": 5, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small_encoder(tmp_path_factory.mktemp("small") / "tiny", stride=4)


@pytest.fixture
def make_job(tmp_path, tiny_folder, small):
    def make(name="job", **overrides) -> JobFolder:
        settings = {"model": str(tiny_folder), "encoder": str(small)}
        folder = JobFolder.create(tmp_path / name, texture_job("a red mug", **SETTINGS | settings | overrides))
        save_npz(folder.mesh_path, box())
        return folder

    return make


def test_a_texture_goes_through_it_and_says_under_which_licence(make_job, models, small):
    through, full = make_job("through"), make_job("full", encoder="full")
    for folder in (through, full):
        assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(through), albedo(full)) and models.model.small_encoder is None
    licences = read_result(through.path).licences
    assert licences[f"encoder {small}"].startswith("unknown")
    assert not any(name.startswith("encoder") for name in read_result(full.path).licences)


def test_a_job_without_it_after_one_with_it_is_as_if_that_had_never_been(make_job, models):
    names = {"before": "full", "between": None, "later": "full"}
    made = [make_job(name, **({} if words is None else {"encoder": words})) for name, words in names.items()]
    for folder in made:
        run(folder, models)
    assert np.array_equal(albedo(made[0]), albedo(made[2]))


@pytest.mark.parametrize("step", [1, 3])
def test_a_job_that_was_left_resumes_to_the_same_texture(make_job, models, step):
    whole, left = make_job("whole"), make_job("left")
    run(whole, models)
    outcome, _ = run(left, ModelCache(), stop=after(step, "leave"))
    assert answer(outcome) == ("error", "interrupted")
    outcome, events = run(left, ModelCache(), resume=True)
    assert outcome.type == "result"
    assert next(body["step"] for kind, body in events if kind == "progress") == step + 1
    assert np.array_equal(albedo(whole), albedo(left))


def test_a_checkpoint_of_the_full_one_is_not_gone_on_with(make_job, models):
    left = make_job("left", encoder="full")
    run(left, models, stop=after(3, "leave"))
    other = make_job("other")
    (left.path / "job.json").write_bytes((other.path / "job.json").read_bytes())
    outcome, _ = run(JobFolder.open(left.path), models, resume=True)
    assert outcome.code == "bad_job_folder" and "made with other settings" in outcome.detail


def test_the_bundled_model_has_one(make_job, models):
    folder = make_job(model="mini", encoder="small", steps=2, views=1)
    assert run(folder, models)[0].type == "result"
    licences = read_result(folder.path).licences
    assert licences["encoder mini"] == licences["model mini"] == "CC0-1.0"
    factor, channels = models.model.latent_factor, models.model.latent_channels
    assert (factor, channels) == (4, 4) and models.model.small_encoder is not None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("small", "encoder_missing", "csd models get taesd"),
        ("/no/such", "encoder_missing", "/no/such"),
        ("owner/tiny", "encoder_missing", "owner/tiny"),
    ],
)
def test_one_that_is_not_here_ends_the_job_with_a_sentence(make_job, models, words, code, said):
    outcome, _ = run(make_job(encoder=words), models)
    assert outcome.code == code and said in outcome.detail + outcome.fix


def test_one_of_another_model_ends_the_job_with_its_file(make_job, models, tmp_path):
    other = write_small_encoder(tmp_path / "other", stride=8)
    outcome, _ = run(make_job(encoder=str(other)), models)
    assert answer(outcome) == ("error", "encoder_unreadable")
    assert str(other / "config.json") in outcome.detail and "8 times smaller" in outcome.detail


def test_pictures_of_pixels_go_through_it_and_latents_do_not(tmp_path, tiny_folder, small, models):
    made = {}
    for space in ("pixels", "latents"):
        for words in ("full", str(small)):
            job = picture_job(
                "a red mug", model=str(tiny_folder), encoder=words, space=space, count=1, steps=3, preview_interval=0,
                device="cpu",
            )  # fmt: skip
            folder = JobFolder.create(tmp_path / f"{space}{len(made)}", job)
            assert run(folder, models)[0].type == "result"
            pictures = sorted((folder.path / "result").glob("*.png"))
            made[space, words] = b"".join(path.read_bytes() for path in pictures)
    assert made["pixels", "full"] != made["pixels", str(small)]
    assert made["latents", "full"] == made["latents", str(small)]


@pytest.mark.parametrize("shape", ["frozen", "free"])
def test_edits_go_through_it(tmp_path, tiny_folder, small, models, shape):
    made = []
    for words in ("full", str(small)):
        job = edit_job(
            "a green mug", source="a red mug", model=str(tiny_folder), shape=shape, encoder=words, shape_resolution=8,
            alignment=1.0, **SETTINGS,
        )  # fmt: skip
        folder = JobFolder.create(tmp_path / words.replace("/", "_"), job)
        mesh = box()
        save_npz(folder.mesh_path, mesh)
        faces, gray = len(mesh.triangles), np.full((4, 4, 3), 128, np.uint8)
        colors = Colors(np.zeros((faces, 3, 2), np.float32), np.zeros(faces, np.int32), (gray,))
        save_colors(folder.path / INPUT_COLORS, colors)
        assert run(folder, models)[0].type == "result"
        made.append(albedo(folder))
    assert not np.array_equal(*made)


def object_folder(path, model, words, **overrides) -> JobFolder:
    return JobFolder.create(path, text_to_3d_job("a red mug", model=str(model), encoder=str(words), **TINY | overrides))


def test_both_stages_of_an_object_go_through_it_and_resume(tmp_path, tiny_folder, small, models, monkeypatch):
    whole, left = (object_folder(tmp_path / name, tiny_folder, small) for name in ("whole", "left"))
    model = models.get(str(tiny_folder), "cpu")
    vae = model.vae.encoder.forward
    monkeypatch.setattr(model.vae.encoder, "forward", lambda *a: pytest.fail("the full encoder was asked"))
    assert run(whole, models)[0].type == "result"
    monkeypatch.setattr(model.vae.encoder, "forward", vae)
    run(left, ModelCache(), stop=after(2, "leave"))
    assert run(left, ModelCache(), resume=True)[0].type == "result"
    assert same_result(whole, left)


def test_an_object_whose_second_model_lacks_one_is_refused_before_the_first_stage(tmp_path, tiny_folder, models):
    pixels = write_if(tmp_path / "if")
    folder = object_folder(tmp_path / "job", tiny_folder, "small", coarse_model=str(pixels))
    outcome, events = run(folder, models)
    assert outcome.code == "encoder_missing" and not [kind for kind, _ in events if kind in ("progress", "stage")]


def test_the_shell_writes_a_path_that_leads_there_from_everywhere(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    job = with_lasting_names(texture_job("a mug", encoder=small.name))
    assert job.encoder == str(small) and with_lasting_names(replace(job, encoder="small")).encoder == "small"


def test_a_named_one_that_is_not_for_commercial_use_is_refused(make_job, models, monkeypatch):
    from csd_blender.job.models import catalogue, places

    entry = replace(catalogue.find_entry("taesd"), commercial="no")
    monkeypatch.setattr(places, "find_entry", lambda name: entry if name == "taesd" else catalogue.find_entry(name))
    outcome, _ = run(make_job(encoder="taesd"), models)
    assert outcome.code == "licence_not_accepted"
