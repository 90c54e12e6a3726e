"""Settings in files of version 0.1 mean what they meant there."""

import pytest

from tests.support.blender import bpy, module


def reopened(tmp_path, monkeypatch, version_0: bool, **settings):
    """The scene's settings after a file with them was saved, as version 0.1 did or as is done today, and read."""
    if version_0:
        monkeypatch.setattr(module("addon.run.old_files"), "stamp", lambda: None)
    csd = bpy.context.scene.csd
    csd.form = 0
    for name, value in settings.items():
        setattr(csd, name, value)
        if name.startswith("use_") and name[4:] not in settings:  # in version 0.1 a ticked box left the value alone
            csd.property_unset(name[4:])
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
    return bpy.context.scene.csd


def spec(kind):
    settings = module("addon.kinds.choose").KINDS[kind].settings
    return settings.make_spec(settings.gather(bpy.context.scene, {"prompt": "a mug"}))


@pytest.mark.parametrize(
    ("written", "model", "meant"),
    [
        (None, "mini", "blurry, noisy, low quality"),
        ("", "mini", ""),
        ("", "sd15", ""),
        ("blurry, noisy, low quality", "sd15", "oversaturated color, ugly, tiling, low quality, noisy"),
        ("rust", "sd15", "rust"),
    ],
)
def test_a_negative_prompt_of_an_old_file(tmp_path, monkeypatch, written, model, meant):
    settings = {"model": model} | ({} if written is None else {"negative_prompt": written})
    reopened(tmp_path, monkeypatch, True, **settings)
    assert spec("texture").negative_prompt == spec("text-to-3d").negative_prompt == meant


def test_ticked_boxes_of_an_old_file_whose_value_nobody_touched(tmp_path, monkeypatch):
    boxes = ("use_steps", "use_coarse_steps", "use_refine_steps", "use_extra_words")
    reopened(tmp_path, monkeypatch, True, **dict.fromkeys(boxes, True))
    texture, made = spec("texture"), spec("text-to-3d")
    assert (texture.steps, texture.extra_words, made.coarse.steps, made.refine.steps) == (400, "", 600, 240)


def test_values_of_an_old_file_stay(tmp_path, monkeypatch):
    csd = reopened(tmp_path, monkeypatch, True, use_steps=True, steps=77, use_coarse_steps=False, coarse_steps=9)
    assert (csd.steps, csd.coarse_steps, csd.use_coarse_steps) == (77, 9, False)
    assert spec("texture").steps == 77 and spec("text-to-3d").coarse.steps == 120


def test_a_file_of_today_is_left_as_it_is(tmp_path, monkeypatch):
    csd = reopened(tmp_path, monkeypatch, False, negative_prompt="")
    assert csd.use_negative_prompt and spec("texture").negative_prompt == "blurry, noisy, low quality"
