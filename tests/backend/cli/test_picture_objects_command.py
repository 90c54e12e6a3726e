"""Objects after one picture, from a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from csd_blender.job.files import COARSE_SHAPE, INPUT_PICTURE
from csd_blender.job.folder import JobFolder
from csd_blender.job.models import places
from csd_blender.job.picture_file import after_picture
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from tests.support.shell import answer
from tests.support.tiny_models import write_zero123


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "my_red ring.png"
    image = Image.new("RGBA", (30, 30))
    image.paste((200, 0, 0, 255), (8, 8, 22, 22))
    image.save(path)
    return path


@pytest.fixture(scope="module")
def zero123(tmp_path_factory) -> str:
    return str(write_zero123(tmp_path_factory.mktemp("models") / "zero123"))


REFINED = '{{"refine": {{"steps": 5}}}}'
ELLIPSOID = '{{"start": "ellipsoid"}}'


def test_a_picture_alone_is_enough_for_an_object(jobs, picture, zero123, tmp_path):
    out = tmp_path / "out"
    status, said = answer("text-to-3d", "--picture", str(picture), "--model", zero123, "--out", str(out))
    assert (status, said) == (0, "")
    (job,) = jobs
    assert (job.recipe, job.prompt, job.method) == ("zero123", "my red ring", "sds") and job.needs_picture
    assert (out / INPUT_PICTURE).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("name", ["\udcff\udcfe.png", "a\nb\tc.png", ".png", "_.png", "ä" * 120 + ".png"])
def test_a_file_of_any_name_names_the_object_readably(name):
    prompt = after_picture({}, "/pictures/" + name)["prompt"]
    assert prompt.encode("utf-8") and prompt.isprintable() and 0 < len(prompt) <= 100 and prompt == prompt.strip()


def test_a_picture_with_a_coarse_model_of_its_own_is_refined_after_the_prompt(jobs, picture, zero123, tmp_path):
    arguments = (
        "--picture",
        str(picture),
        "--coarse-model",
        zero123,
        "--method",
        "dsd",
        "--out",
        str(tmp_path / "out"),
    )
    status, said = answer("text-to-3d", *arguments)
    assert status == 2 and "--prompt" in said and not jobs, "the second stage reads one"
    assert answer("text-to-3d", "--prompt", "a ring", *arguments) == (0, "")
    assert (jobs[0].recipe, jobs[0].model, jobs[0].method) == ("zero123-refine", "mini", "dsd")


@pytest.mark.parametrize(
    "arguments,status,words",
    [
        (("--recipe", "zero123", "--prompt", "x", "--model", "{zero}"), 2, "--picture"),
        (("--picture", "{text}", "--model", "{zero}"), 1, "is no PNG, JPEG or WebP"),
        (("--picture", "{missing}", "--model", "{zero}"), 1, "No such file"),
        (("--picture", "{damaged}", "--model", "{zero}"), 1, "its file is damaged"),
        (("--picture", "{blank}", "--model", "{zero}"), 1, "shows nothing"),
        (("--picture", "{picture}", "--model", "{zero}", "--method", "bridge"), 1, "wordings"),
        (("--picture", "{picture}", "--model", "{zero}", "--method", "csd-mvdream"), 1, "several views"),
        (("--picture", "{picture}", "--model", "{zero}", "--settings", REFINED), 1, "stage alone"),
        (("--picture", "{picture}", "--model", "{zero}", "--refine-steps", "5"), 0, "--refine-steps has no effect"),
        (("--picture", "{picture}", "--model", "{zero}", "--picture-elevation", "91"), 1, "picture_elevation"),
        (("--picture", "{picture}", "--recipe", "csd", "--prompt", "x"), 0, "--picture has no effect"),
        (("--picture", "{picture}", "--model", "{zero}", "--prompt", "an owl"), 0, "--prompt only names the object"),
        (("--picture", "{picture}", "--model", "{zero}", "--settings", ELLIPSOID), 0, "--picture has no effect"),
        (("--recipe", "zero123", "--model", "{zero}"), 2, "--picture"),
        (("--picture", "{folder}", "--model", "{zero}"), 1, "no ordinary file"),
        (("--recipe", "zero123", "--picture", "{picture}", "--coarse-model", "{zero}"), 1, "zero123-refine"),
        (("--picture", "{picture}", "--model", "{zero}", "--perp-neg", "2"), 0, "--perp-neg has no effect"),
    ],
)
def test_what_does_not_go_with_a_picture_is_said(jobs, picture, zero123, tmp_path, arguments, status, words):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "damaged.png").write_bytes(picture.read_bytes()[:60])
    Image.new("RGB", (30, 30), (200, 0, 0)).save(tmp_path / "blank.png")
    names = {name: tmp_path / f"{name}.png" for name in ("text", "missing", "damaged", "blank")}
    names |= {"picture": picture, "zero": zero123, "folder": tmp_path}
    out = tmp_path / "out"
    found, said = answer("text-to-3d", *(word.format(**names) for word in arguments), "--out", str(out))
    assert found == status and words in said and said.count("\n") <= 2
    assert out.exists() == (status == 0)


def test_the_bundled_model_is_told_a_picture_where_it_has_networks_for_that(jobs, picture, tmp_path, monkeypatch):
    made, refused = (("text-to-3d", "--picture", str(picture), "--out", str(tmp_path / name)) for name in "ab")
    assert answer(*made) == (0, "") and jobs[0].model == "mini" and jobs[0].needs_picture
    monkeypatch.setattr(places, "BUNDLED_PICTURE", tmp_path)
    assert "told a prompt and no picture" in answer(*refused)[1]
    assert {name for _, name in jobs[0].models} == {"picture"} and jobs[0].negative_prompt == ""


def test_a_picture_beside_a_given_shape_changes_nothing(jobs, picture, cube, tmp_path):
    """The recipe for pictures has no stage that refines."""
    source = JobFolder.create(tmp_path / "owl", text_to_3d_job("an owl"))
    source.write_bytes(COARSE_SHAPE, b"")
    for name, given in (("a", ("--refine-from", str(source.path))), ("b", ("--start", str(cube)))):
        arguments = ("text-to-3d", "--prompt", "a golden owl", *given)
        assert answer(*arguments, "--out", str(tmp_path / name)) == (0, "")
        status, said = answer(*arguments, "--picture", str(picture), "--out", str(tmp_path / f"{name}2"))
        assert status == 0 and "--picture has no effect" in said and said.count("\n") == 1
        usual, beside = jobs[-2:]
        assert beside == usual and beside.recipe == "csd" and beside.refine.steps > 0
    status, said = answer("text-to-3d", "--start", str(cube), "--picture", str(picture), "--out", str(tmp_path / "c"))
    assert status == 2 and "--prompt" in said
