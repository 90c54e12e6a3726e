"""The zip installed into a fresh headless Blender, and the operator run on the true mini model."""

import os
import time

import pytest

DRAFT = {"prompt": "red brick", "quality": "draft", "texture_size": "256", "seed": 3}
FEW_STEPS = {**DRAFT, "steps": 4}


@pytest.fixture(scope="module")
def textured(in_blender):
    return in_blender("texture_two_objects", settings=DRAFT)


def test_the_operator_runs_to_its_end_before_it_returns(textured):
    assert textured["returned"] == ["FINISHED"]
    assert {"stage", "progress", "preview", "result"} <= set(textured["messages"])
    assert "error" not in textured["messages"]


def test_every_object_gets_an_image_in_an_ordinary_material(textured):
    for facts in textured["after"].values():
        assert facts["image"]["size"] == [256, 256]
        assert facts["image"]["packed"]
        assert facts["image"]["colorspace"] == "sRGB"


@pytest.mark.parametrize("name", ["Ball", "Cube"])
def test_red_brick_is_red_and_has_a_pattern(textured, name):
    image = textured["after"][name]["image"]
    red, green, blue = image["mean"]
    assert red > green + 0.1 and red > blue + 0.1, image["mean"]
    assert image["deviation"] > 0.04, "the texture is nearly of one color"


def test_objects_do_not_share_a_texture(textured):
    ball, cube = (textured["after"][name]["image"]["digest"] for name in ("Ball", "Cube"))
    assert ball != cube


def test_shapes_and_the_users_uv_map_stay_as_they_were(textured):
    for name, before in textured["before"].items():
        after = textured["after"][name]
        assert after["shape"] == before["shape"]
        assert after["uv_layers"][: len(before["uv_layers"])] == before["uv_layers"]
    assert textured["after"]["Ball"]["uv_layers"] == textured["before"]["Ball"]["uv_layers"], "usable UVs are kept"
    assert len(textured["after"]["Cube"]["uv_layers"]) == 1, "a mesh without UVs gets one map"


def test_the_scenes_own_settings_are_never_touched(textured):
    assert textured["settings_after"] == textured["settings_before"]


def test_the_texture_survives_saving_and_opening(textured):
    for name, after in textured["after"].items():
        assert textured["reopened"][name]["image"]["digest"] == after["image"]["digest"]


def test_the_backend_ends_with_its_blender(textured):
    assert gone(textured["backend_pid"])


def test_undo_gives_the_old_material_back(in_blender):
    facts = in_blender("undo_gives_the_old_material_back", settings=FEW_STEPS)
    assert facts["with_texture"]
    assert facts["ball"] == ["Own"]
    assert facts["cube"] == [] and facts["cube_uv"] == []


def test_operator_and_api_give_the_same_and_the_seed_decides(in_blender):
    operator, api, other_seed = in_blender("operator_and_api_agree", settings=FEW_STEPS)["digests"]
    assert operator == api
    assert operator != other_seed


def test_an_object_from_text_stands_at_the_cursor_and_its_shape_can_be_refined_again(in_blender):
    settings = {"prompt": "a red ball", "quality": "draft", "texture_size": "256", "seed": 1, "height": 0.5}
    settings |= {"coarse_steps": 40, "refine": {"steps": 12, "tet_resolution": 32}}
    again = {"prompt": "a green ball", "quality": "draft", "texture_size": "256", "seed": 1, "height": 0.5}
    facts = in_blender("an_object_from_text", settings=settings, again=again)
    assert {"stage", "progress", "preview", "result"} <= set(facts["messages"]) and "error" not in facts["messages"]
    assert facts["after_undo"] == [] and facts["returned"] == ["FINISHED"]
    assert "coarse.safetensors" in facts["stages"]
    for made, color in ((facts["first"], 0), (facts["second"], 1)):
        low, high = made["low"], made["high"]
        assert low[2] == pytest.approx(3, abs=1e-4) and high[2] - low[2] == pytest.approx(0.5, abs=1e-3)
        assert (low[0] + high[0]) / 2 == pytest.approx(1, abs=0.05) and (low[1] + high[1]) / 2 == pytest.approx(
            2, abs=0.05
        )
        assert made["closed"] and len(made["uv_layers"]) == 1
        assert made["image"]["size"] == [256, 256] and made["image"]["packed"]
        mean = made["image"]["mean"]
        assert max(range(3), key=mean.__getitem__) == color, mean
    assert facts["second"]["settings"]["start"] == "coarse"
    assert facts["reopened"] == facts["second"]


def test_what_cannot_be_done_is_said_in_a_sentence(in_blender):
    said = in_blender("what_cannot_be_done_is_said")["said"]
    assert set(said) == {"nothing selected", "no faces", "no prompt", "no such model"}
    for case, text in said.items():
        assert text, f"{case}: it should have refused"
        assert "Traceback" not in text and "Error(" not in text, f"{case}: {text}"


def test_switching_off_and_uninstalling_leaves_nothing(in_blender):
    facts = in_blender("switching_off_and_uninstalling_leaves_nothing", settings=FEW_STEPS)
    assert not facts["operator_after_switching_off"] and facts["properties"] == [False, False]
    assert facts["on_again"]
    assert facts["there"] and not facts["still_there"]
    assert gone(facts["pid"])


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
