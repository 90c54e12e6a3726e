"""The words for ControlNets, and which folders they lead to; without torch."""

from __future__ import annotations

import json
import struct
from functools import partial

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.models.control import (
    PUBLISHED,
    channels_of,
    chosen_controls,
    guess_kinds,
    lasting_control_names,
    licence_of,
    listed_names,
    wanted_kinds,
)
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import MINI_CONTROL_STRENGTH, texture_job


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A hub's cache of this test's own."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def net(folder, width=768, **settings):
    """A folder that looks like a ControlNet from outside."""
    folder.mkdir(parents=True)
    config = {"_class_name": "ControlNetModel", "cross_attention_dim": width, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return folder


def cached(cache, source, width=768):
    return net(cache / ("models--" + source.replace("/", "--")) / "snapshots" / "abc", width)


def refusal(words, names="", width=768, code=None):
    with pytest.raises(JobError) as caught:
        chosen_controls(words, names, width)
    assert code is None or caught.value.code == code, caught.value
    return caught.value.message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("off", {}),
        (" Auto ", None),
        ("depth", {"depth": 1.0}),
        ("normal, Depth:0.5", {"normal": 1.0, "depth": 0.5}),
        ("canny:2,depth:.25", {"canny": 2.0, "depth": 0.25}),
    ],
)
def test_words_say_what_is_followed_and_how_strongly(words, expected):
    assert wanted_kinds(words) == expected


@pytest.mark.parametrize(
    "words",
    ["", "depht", "depth,", "depth,depth", "depth:", "depth:x", "depth:-1", "depth:2.5", "off,depth", "1", "depth:1e0"],
)
def test_other_words_are_refused_by_every_kind_of_job(words):
    for make in (texture_job, text_to_3d_job, lambda *a, **k: edit_job(*a, source="a", **k)):
        with pytest.raises(JobError, match="control is .* allowed is off, auto, or a list of depth, normal, canny"):
            make("a mug", control=words)


def test_names_may_say_what_they_are_for():
    assert listed_names("depth=/a b/c, thib/x ,normal+depth=d") == [
        (("depth",), "/a b/c"), ((), "thib/x"), (("depth", "normal"), "d"),
    ]  # fmt: skip
    assert listed_names("") == [] and listed_names("tall=/x") == [((), "tall=/x")]


@pytest.mark.parametrize(
    ("name", "config", "kinds"),
    [
        ("lllyasviel/control_v11f1p_sd15_depth", {}, ("depth",)),
        ("thibaud/controlnet-sd21-normalbae-diffusers", {}, ("normal",)),
        ("/nets/my_canny", {}, ("canny",)),
        ("/nets/mine", {"_name_or_path": "x/sd-controlnet-depth"}, ("depth",)),
        ("/depth/normalbae", {}, ("normal",)),  # the name itself before the folders above it
        ("/nets/mine", {"conditioning_channels": 4}, ("depth", "normal")),
        ("/nets/openpose", {}, ()),
        ("/nets/depth_and_normal", {}, ()),
    ],
)
def test_what_a_net_follows_is_guessed_from_its_name_or_its_channels(name, config, kinds):
    assert guess_kinds(name, config) == kinds


def test_channels():
    assert [channels_of(k) for k in (("depth",), ("normal",), ("canny",), ("depth", "normal"))] == [3, 3, 3, 4]


def test_named_folders_come_first_and_the_rest_from_the_cache(tmp_path, cache):
    own = net(tmp_path / "my_depth")
    cached(cache, PUBLISHED[768]["normal"][0])
    found = chosen_controls("normal:0.5,depth", str(own), 768)
    assert [(f.kinds, f.weight) for f in found] == [(("depth",), 1.0), (("normal",), 0.5)]
    assert found[0].part.folder == own and found[1].name == "lllyasviel/control_v11p_sd15_normalbae"
    assert licence_of(found[1].name) == "OpenRAIL" and licence_of(str(own)).startswith("unknown")


def test_auto_takes_what_is_there_and_asks_for_nothing(tmp_path, cache):
    assert chosen_controls("auto", "", 768) == () and chosen_controls("off", "nonsense", 768) == ()
    cached(cache, PUBLISHED[768]["depth"][0])
    cached(cache, PUBLISHED[768]["canny"][0])
    broken = cached(cache, PUBLISHED[768]["normal"][0])
    (broken / "diffusion_pytorch_model.safetensors").unlink()
    assert [f.kinds for f in chosen_controls("auto", "", 768)] == [("depth",)]
    assert chosen_controls("auto", "", 1024) == ()
    named = net(tmp_path / "canny")
    assert [f.kinds for f in chosen_controls("auto", str(named), 768)] == [("canny",)]


def test_a_bundled_net_for_depth_and_normals_serves_both(tmp_path):
    bundled = net(tmp_path / "control", 128, conditioning_channels=4)
    for words, weight in (("auto", 1.0), ("depth,normal:0.5", 0.75), ("normal:0.5", 0.5)):
        (found,) = chosen_controls(words, "", 128, bundled)
        assert found.kinds == ("depth", "normal") and found.weight == weight


def test_the_words_tell_what_a_folder_is_for_whose_name_does_not(tmp_path):
    own, other = net(tmp_path / "one"), net(tmp_path / "my_depth")
    assert chosen_controls("normal", str(own), 768)[0].kinds == ("normal",)
    assert [f.kinds for f in chosen_controls("depth,canny", f"{own},{other}", 768)] == [("canny",), ("depth",)]
    assert [f.kinds for f in chosen_controls("canny", f"canny={other}", 768)] == [("canny",)]
    assert "nothing tells what" in refusal("depth,normal", str(own), code="bad_setting")
    assert "nothing tells what" in refusal("auto", str(own), code="bad_setting")
    assert "which control does not name" in refusal("normal", str(other), code="bad_setting")
    assert "two ControlNets are for depth" in refusal("depth", f"{other},depth={own}", code="bad_setting")


def test_what_is_missing_says_where_to_get_it(tmp_path):
    said = refusal("depth", code="control_missing")
    assert "csd models get sd15-depth" in said and "control_model depth=PATH" in said
    assert "Download thibaud/controlnet-sd21-depth-diffusers" in refusal("depth", width=1024, code="control_missing")
    assert "for normal and SDXL" in refusal("normal", width=2048, code="control_missing")
    assert "for depth and this model" in refusal("depth", width=99, code="control_missing")
    assert "no/such" in refusal("depth", "no/such", code="control_missing")
    assert str(tmp_path) in refusal("depth", str(tmp_path), code="control_unreadable")


def test_a_net_of_another_family_is_named_with_both(tmp_path):
    own = net(tmp_path / "depth", 1024)
    said = refusal("depth", str(own), 768, "control_unreadable")
    assert "texts 1024 wide (Stable Diffusion 2), but the model's are 768 wide (Stable Diffusion 1)" in said
    assert str(own / "config.json") in said and said.count(".") < 8 and said.endswith("or set Control to off.")


@pytest.mark.parametrize("width", ["768", [768], {"a": 1}, None, 7.5, True])
def test_a_net_whose_settings_name_no_width_is_damaged(tmp_path, width):
    message = refusal("depth", str(net(tmp_path / "depth", width)), code="control_unreadable")
    assert "damaged at 'cross_attention_dim'" in message and str(tmp_path / "depth") in message


def test_lasting_names_lead_to_the_same_folders_from_everywhere(tmp_path, cache, monkeypatch):
    net(tmp_path / "my_depth")
    cached(cache, "a/normal")
    monkeypatch.chdir(tmp_path)
    assert lasting_control_names("my_depth, normal=a/normal") == f"{tmp_path / 'my_depth'},normal=a/normal"
    with pytest.raises(JobError, match="no_such"):
        lasting_control_names("depth=no_such")
    net(tmp_path / "with,comma")
    assert lasting_control_names("") == ""


def test_jobs_of_before_keep_their_fingerprints_and_textures_look_for_nets():
    assert all(text_to_3d_job("a mug", model=model).control == "off" for model in ("mini", "sd15"))
    for model, strength in (("mini", MINI_CONTROL_STRENGTH), ("sd15", 1.0)):
        for job in (texture_job("a mug", model=model), edit_job("a mug", "a cup", model=model)):
            assert (job.control, job.control_strength) == ("auto", strength)
        for job in (texture_job, partial(edit_job, source="a cup")):
            assert job("a mug", model=model, control_strength=0.75).control_strength == 0.75
            assert job("a mug", model=model, control="depth").control_strength == strength
            assert job("a mug", model=model, control="off").control_strength == 1.0
    plain = texture_job("a mug", control="off")
    data = plain.to_json()
    for name in ("control", "control_model", "control_strength", "control_end"):
        del data[name]
    assert type(plain).from_json(data) == plain
    for change in ({"control": "depth"}, {"control_strength": 0.5}, {"control_end": 1.0}):
        assert texture_job("a mug", **{"control": "off", **change}).spec_hash() != plain.spec_hash()
