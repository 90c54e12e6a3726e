"""The catalogue, the folder of models, and who may use what: without any library, and without any network."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.models import catalogue, control, licences, store
from csd_blender.job.models.catalogue import CATALOGUE, MODEL_IDS, entry_of, find_entry
from csd_blender.job.models.encoder import find_encoder
from csd_blender.job.models.families import FAMILIES
from csd_blender.job.models.lora import find_lora
from csd_blender.job.models.places import find_folder
from csd_blender.job.models.states import BROKEN, BUNDLED, look_at, look_at_all
from csd_blender.job.presets.picture import picture_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.picture import PictureJob

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


# ---- the catalogue ---------------------------------------------------------------------------------------------------


def test_every_entry_says_what_an_artist_must_know_and_stands_on_the_page():
    for entry in CATALOGUE:
        assert entry.purpose and entry.label and entry.memory_mb > 0 and entry.native_size > 0
        assert entry.download_mb > 0 or entry.id == "mini"
        assert entry.commercial in catalogue.TERMS.keys() - {"unknown"} and entry.terms and entry.family_label
        assert f"`{entry.id}`" in PAGE and entry.licence in PAGE
        for path, found in entry.sums.items():
            assert store.is_inside(path) and len(found) == 64 and int(found, 16)
    assert len({found for entry in CATALOGUE for found in entry.sums.values()}) == sum(len(e.sums) for e in CATALOGUE)


def test_what_is_not_driven_yet_is_not_offered():
    offered = {entry.id for entry in CATALOGUE if entry.can_be_used}
    assert set(MODEL_IDS) <= offered
    known = {family.id for family in FAMILIES}
    for entry in CATALOGUE:
        assert (entry.id in offered) == (entry.family in known and entry.role in catalogue.DRIVEN_ROLES)


def test_a_family_that_is_added_brings_its_models_with_it(monkeypatch):
    entry = find_entry("sdxl-base")
    assert not replace(entry, family="no such family").can_be_used
    monkeypatch.setattr(catalogue, "FAMILIES", [type("Family", (), {"id": "sdxl", "label": "XL"})])
    assert entry.can_be_used and entry.family_label == "XL"


def test_nothing_gated_or_not_for_commercial_use_is_ever_a_default():
    for job in (texture_job("a mug"), text_to_3d_job("a mug"), picture_job("a mug")):
        for name in licences.models_of(job):
            assert find_entry(name).commercial == "yes" and not find_entry(name).gated


@pytest.mark.parametrize("name", ["", "..", "a/b/c", "a\\b", "x" * 200 + "/y", "mödel/x", "a/b\n"])
def test_odd_names_are_no_models(name):
    assert entry_of(name) is None


# ---- who may use what ------------------------------------------------------------------------------------------------


def test_a_job_with_a_model_that_is_not_cleared_is_refused_in_one_sentence_unless_that_is_allowed():
    for make in (texture_job, text_to_3d_job, picture_job):
        for name in ("if-xl", "DeepFloyd/IF-I-XL-v1.0"):
            with pytest.raises(JobError, match="DeepFloyd IF License") as caught:
                licences.check_job(make("a mug", model=name))
            assert caught.value.code == "licence_not_accepted"
            licences.check_job(make("a mug", model=name, allow_noncommercial=True))
        licences.check_job(make("a mug", model="sd15"))
    with pytest.raises(JobError):
        licences.check_job(text_to_3d_job("a mug", coarse_model="if-xl"))


def test_a_copy_is_known_by_where_it_lies_and_by_its_record(nothing_here):
    cached = nothing_here / "hub" / "models--DeepFloyd--IF-I-XL-v1.0" / "snapshots" / "abc"
    own = store.own_folder("if-xl")
    for folder in (cached, own / "unet"):
        folder.mkdir(parents=True)
    (own / store.RECORD).write_text(json.dumps(record("if-xl").to_json()))
    for place in (cached, cached.parent.parent, own, own / "unet"):
        with pytest.raises(JobError, match="DeepFloyd"):
            licences.check_cleared(str(place), False)
    licences.check_cleared(str(nothing_here), False)


def test_a_link_to_a_copy_and_a_folder_around_one_are_under_its_licence(nothing_here):
    cached = nothing_here / "around" / "models--DeepFloyd--IF-I-XL-v1.0" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "model_index.json").write_text("{}")
    (nothing_here / "link").symlink_to(cached)
    (nothing_here / "link to a part").symlink_to(cached / "model_index.json")
    for name in ("around", "link", "link to a part"):
        with pytest.raises(JobError, match="DeepFloyd"):
            licences.check_cleared(str(nothing_here / name), False)


def test_terms_that_nobody_knows_are_said(nothing_here):
    assert licences.unknown_terms("sd15") == licences.unknown_terms("mini") == ""
    assert "owner/name" in licences.unknown_terms("owner/name")
    assert nothing_here.name in licences.unknown_terms(str(nothing_here))
    assert licences.licence_of("sd15") == "CreativeML-OpenRAIL-M"
    assert licences.licence_of(str(nothing_here)).startswith("unknown")


def test_the_new_switch_of_pictures_leaves_old_jobs_as_they_were():
    old = picture_job("a mug").to_json()
    del old["allow_noncommercial"]
    assert PictureJob.from_json(old).spec_hash() == picture_job("a mug").spec_hash()


# ---- the folder ------------------------------------------------------------------------------------------------------


def record(name, files=(("a.safetensors", 3),)):
    return store.Record(name, name, "c" * 40, "MIT", tuple(store.StoredFile(path, size) for path, size in files))


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\b", "C:x", "", "a//b", "a\0b", ".", 3, None])
def test_paths_that_lead_out_are_no_files_of_a_model(path):
    assert not store.is_inside(path)


@pytest.mark.parametrize(
    "damage",
    [
        "not json", "[]", "{}", '{"files": 3}', json.dumps({**record("a/b").to_json(), "id": 3}),
        json.dumps(record("a/b", (("../x", 3),)).to_json()), json.dumps(record("a/b", (("x", -3),)).to_json()),
        "[" * 10**5,
    ],
)  # fmt: skip
def test_a_damaged_record_is_none_and_the_model_is_named(damage):
    folder = store.own_folder("tiny/sd15")
    folder.mkdir(parents=True)
    (folder / store.RECORD).write_text(damage)
    assert store.read_record(folder) is None
    with pytest.raises(JobError, match="damaged"):
        store.whole_copy("tiny/sd15")
    look_at_all()  # must not raise


def test_a_folder_of_models_that_is_not_there_or_is_a_file_is_an_empty_one(nothing_here):
    assert {found.state for found in look_at_all()} == {"bundled", "absent"}
    (nothing_here / "models").write_text("x")
    assert {found.state for found in look_at_all()} == {"bundled", "absent"}


def test_half_a_download_says_how_far_it_is():
    part = store.part_folder("tiny/sd15")
    part.mkdir(parents=True)
    (part / store.PLAN).write_text(json.dumps(record("tiny/sd15", (("a", 80), ("b", 20))).to_json()))
    (part / "b").write_bytes(b"x" * 20)
    (part / "a.partial").write_bytes(b"x" * 20)
    found = look_at_all()[-1]
    assert (found.entry.id, found.state, found.text, found.done, found.total) == (
        *("tiny/sd15", "paused", "paused at 40%"),
        *(40, 100),
    )
    assert found.own and found.entry.licence == "MIT"


def test_files_that_are_gone_or_cut_off_are_named():
    folder = store.own_folder("tiny/sd15")
    folder.mkdir(parents=True)
    (folder / store.RECORD).write_text(json.dumps(record("tiny/sd15").to_json()))
    found = look_at(entry_of("tiny/sd15"))
    assert found.state == "broken" and "a.safetensors" in found.text and "missing" in found.text
    (folder / "a.safetensors").write_bytes(b"xx")
    assert "2 of 3 bytes" in look_at(entry_of("tiny/sd15")).text


@pytest.fixture
def locked(nothing_here, monkeypatch):
    """A folder that the system lets nobody look into."""
    place = nothing_here / "locked"
    place.mkdir()
    for name in ("is_file", "is_dir", "exists"):
        usual = getattr(Path, name)

        def denied(path, *args, usual=usual, **options):
            if place in path.parents:
                raise PermissionError(13, "Permission denied", str(path))
            return usual(path, *args, **options)

        monkeypatch.setattr(Path, name, denied)
    return place


@pytest.mark.parametrize("variable", ["CSD_MODELS", "HF_HUB_CACHE"])
def test_a_place_that_may_not_be_looked_into_is_named_and_the_rest_goes_on(locked, monkeypatch, variable):
    monkeypatch.setenv(variable, str(locked))
    finders = {find_folder: "sd15", control.find_control: "sd15-depth", find_encoder: "taesd"}
    for find, name in finders.items():
        with pytest.raises(JobError, match="cannot be read") as caught:
            find(name)
        assert caught.value.code.endswith("_unreadable") and "permissions" in caught.value.fix
    assert {found.entry.id for found in look_at_all()} >= set(MODEL_IDS)
    assert look_at(entry_of("sd15")).state == "broken"
    assert control.chosen_controls("auto", "", 768) == ()  # a job that asked for none goes without


def test_removing_leaves_a_folder_that_cannot_be_looked_into(nothing_here, monkeypatch):
    folder = store.own_folder("sd15")
    folder.mkdir(parents=True)

    def walk(place, onerror):
        onerror(PermissionError(13, "Permission denied", str(place)))
        return iter(())

    monkeypatch.setattr(store.os, "walk", walk)
    with pytest.raises(JobError, match="cannot be read"):
        store.remove(folder)
    assert folder.is_dir()


def test_removing_takes_all_of_it_and_nothing_else(nothing_here):
    folder = store.own_folder("sd15")
    (folder / "unet").mkdir(parents=True)
    beside = store.own_folder("sd21-base")
    beside.mkdir()
    store.remove(folder)
    store.remove(folder)  # what is not there is no fault
    assert [p.name for p in (nothing_here / "models").iterdir()] == ["sd21-base"]


def stored(record_text: str | None = None):
    """A model of one file, with its record."""
    folder = store.own_folder("sd15")
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    plain = replace(record("sd15"), files=(store.StoredFile("unet/config.json", 2),)).to_json()
    (folder / store.RECORD).write_text(json.dumps(plain) if record_text is None else record_text)
    return folder


@pytest.mark.parametrize("name", ["mine.safetensors", "unet/my notes.txt"])
def test_removing_keeps_a_model_beside_which_somebody_put_a_file(name):
    folder = stored()
    (folder / name).write_text("a year")
    with pytest.raises(JobError, match="did not come with the model") as caught:
        store.remove(folder)
    assert name.split("/")[-1] in caught.value.detail and caught.value.code == "no_permission"
    assert (folder / name).read_text() == "a year" and (folder / "unet" / "config.json").exists()
    (folder / name).unlink()
    (folder / ".DS_Store").touch()
    store.remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize("text", ["{}", "", '{"id": "sd15", "source": "", "commit": "", "licence": "", "files": {}}'])
def test_a_record_that_names_no_files_is_damaged_and_nothing_is_removed_by_it(text):
    folder = stored(text)
    with pytest.raises(JobError, match="is damaged"):
        store.whole_copy("sd15")
    assert look_at(entry_of("sd15")).state == BROKEN
    with pytest.raises(JobError, match=r"config.json', which did not come"):
        store.remove(folder)
    assert (folder / "unet" / "config.json").exists()


def test_a_file_in_the_place_of_a_model_is_not_removed(nothing_here):
    folder = store.own_folder("sd15")
    folder.parent.mkdir(parents=True)
    folder.write_text("mine")
    with pytest.raises(JobError, match="did not come through this program"):
        store.remove(folder)
    assert folder.read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="devices as this system has them")
@pytest.mark.parametrize("what", ["a device", "a file", "a folder"])
def test_what_is_no_model_is_named_itself_and_not_what_it_lies_in(tmp_path, what):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "x.safetensors").mkdir()
    place = {"a device": "/dev/zero", "a file": str(tmp_path / "notes.txt"), "a folder": str(tmp_path)}[what]
    for find in (control.find_control, find_encoder):
        with pytest.raises(JobError, match=f"{place} has no config.json"):
            find(place)
    if what == "a device":
        with pytest.raises(JobError, match="/dev/zero is no ordinary file"):
            find_lora(place)
    if what == "a folder":
        with pytest.raises(JobError, match="x.safetensors is a folder and no file"):
            find_lora(place)


def test_a_model_that_could_be_got_says_how(monkeypatch):
    with pytest.raises(JobError) as caught:
        find_folder("sd15")
    assert "csd models get sd15" in caught.value.fix
    monkeypatch.setattr(catalogue, "DRIVEN_ROLES", ("model", "control"))
    with pytest.raises(JobError) as caught:
        find_folder("taesdxl")
    assert "models get" not in caught.value.fix


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices as this system has them")
@pytest.mark.parametrize("name", [store.RECORD, store.PLAN, store.SUMS])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_a_device_in_the_place_of_a_record_is_no_record_and_is_not_waited_for(nothing_here, name, make):
    folder = store.own_folder("sd15")
    for place in (folder, store.part_folder("sd15"), nothing_here / "models"):
        place.mkdir(parents=True, exist_ok=True)
        make(place / name)
        assert store.read_table(place / name) == {} and store.read_record(place, name) is None
    assert look_at_all()
    with pytest.raises(JobError, match="did not come through this program"):
        store.remove(folder)


@pytest.mark.skipif(os.name == "nt", reason="pipes as this system has them")
def test_a_pipe_in_the_place_of_an_empty_file_of_a_model_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "merges.txt")
    with pytest.raises(JobError, match="no ordinary file"):
        store.verify(tmp_path, replace(record("sd15"), files=(store.StoredFile("merges.txt", 0),)))


# ---- ControlNets -----------------------------------------------------------------------------------------------------


def write_control(folder):
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = len(header).to_bytes(8, "little") + header + b"\0" * 4
    (folder / "config.json").write_text('{"_class_name": "ControlNetModel", "cross_attention_dim": 768}')
    (folder / "diffusion_pytorch_model.fp16.safetensors").write_bytes(data)
    return store.StoredFile("diffusion_pytorch_model.fp16.safetensors", len(data))


def test_a_controlnet_that_was_got_is_found_by_id_by_repository_and_by_auto():
    folder = store.own_folder("sd15-depth")
    made = replace(record("sd15-depth"), files=(write_control(folder),))
    (folder / store.RECORD).write_text(json.dumps(made.to_json()))
    for name in ("sd15-depth", "lllyasviel/control_v11f1p_sd15_depth"):
        assert control.find_control(name) == folder
    (found,) = control.chosen_controls("auto", "", 768)
    assert found.kinds == ("depth",) and found.part.folder == folder
    assert look_at(find_entry("sd15-depth")).state == "ready"
    assert control.licence_of(found.name) == "OpenRAIL"


def test_one_that_is_not_here_says_how_to_get_it():
    with pytest.raises(JobError, match="csd models get sd15-normal") as caught:
        control.chosen_controls("normal", "", 768)
    assert caught.value.code == "control_missing"
    with pytest.raises(JobError, match="into the Hugging Face cache"):
        control.chosen_controls("depth", "", 1024)


def test_every_published_one_of_the_catalogue_is_where_control_looks_for_it():
    published = {name for kinds in control.PUBLISHED.values() for sources in kinds.values() for name in sources}
    for entry in CATALOGUE:
        if entry.role == "control":
            assert entry.sources[0] in published


def test_named_controlnets_are_asked_for_their_terms():
    job = texture_job("a mug", model="sd15", control="depth", control_model="depth=owner/net,sd15-normal")
    assert licences.models_of(job) == ["sd15", "owner/net", "sd15-normal"]
    assert licences.models_of(replace(job, control="off")) == ["sd15"]


def test_a_folder_of_models_that_cannot_be_looked_into_still_gives_a_list(tmp_path):
    found = look_at_all(tmp_path / ("x" * 300))
    assert found and all(model.state in (BUNDLED, BROKEN) for model in found)
    assert any("name" in model.detail.lower() for model in found if model.state == BROKEN)


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "cc-by-nc-sa-4.0", "other-noncommercial"])
def test_a_licence_on_the_page_that_excludes_work_is_heeded_and_any_other_is_named(nothing_here, licence):
    own = store.own_folder("tiny/art")
    own.mkdir(parents=True)
    for said in (licence, "openrail"):
        (own / store.RECORD).write_text(json.dumps(replace(record("tiny/art"), licence=said).to_json()))
        job = texture_job("a mug", model="tiny/art")
        assert f"“{said}”" in licences.unknown_terms("tiny/art")
        if said == licence:
            with pytest.raises(JobError, match=licence) as caught:
                licences.check_job(job)
            assert caught.value.code == "licence_not_accepted"
            licences.check_job(replace(job, allow_noncommercial=True))
        else:
            licences.check_job(job)
