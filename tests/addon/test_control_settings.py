"""ControlNets and their details in the panel: where they count, and what reused settings make of them."""

import functools

import pytest

from tests.addon.test_settings import CHOSEN, from_panel
from tests.support.blender import bpy, module


@pytest.mark.parametrize("kind", ["texture", "text-to-3d", "edit"])
def test_control_nets_are_shown_and_count_where_they_have_an_effect(kind):
    csd, details = bpy.context.scene.csd, {"control_model", "control_strength", "control_end"}
    unused = functools.partial(module("addon.kinds.common").unused, CHOSEN[kind].spec)
    csd.use_control, csd.control = True, "off"
    without = from_panel(kind)
    csd.use_control_strength = True
    csd.control_model, csd.control_strength, csd.control_end = "/nets/depth", 0.5, 0.25
    assert details <= unused(csd).keys() and "control" not in unused(csd)
    assert from_panel(kind).spec_hash() == without.spec_hash()
    csd.use_control = False  # without its box the preset's word holds: of objects off, of all others auto
    off = kind == "text-to-3d"
    assert from_panel(kind).control == ("off" if off else "auto")
    assert details & unused(csd).keys() == (details if off else set())
    csd.use_control, csd.control = True, "depth"
    assert not details & unused(csd).keys()
    spec = from_panel(kind)
    assert (spec.control, spec.control_model, spec.control_strength, spec.control_end) == (
        "depth",
        "/nets/depth",
        0.5,
        0.25,
    )
    again = CHOSEN[kind].settings
    boxes = ("use_control", "use_control_strength")
    for name in ("control", *details, *boxes):
        csd.property_unset(name)
    again.reuse(bpy.context.scene, spec.to_json())
    assert (csd.control, csd.use_control) == ("depth", True)
    # Half is what textures of the bundled model have anyway.
    assert (csd.use_control_strength, csd.control_strength if off else 0.5) == (off, 0.5)
    csd.control = "dpeth"
    with pytest.raises(module("job.errors").JobError, match="control is 'dpeth', allowed is off, auto"):
        from_panel(kind)
    for name in ("control", *details, *boxes, "kind"):
        csd.property_unset(name)
    for model, strength in (("mini", 0.5), ("sd15", 1.0)):
        spec = from_panel("texture", model=model)
        assert (spec.control, spec.control_strength) == ("auto", strength)
    assert from_panel("text-to-3d", model="sd15").control == "off"


def test_what_follows_control_nets_is_idle_where_a_recipe_has_no_mesh_for_them():
    chosen = {"recipe": "dreamfusion", "control": "depth", "control_strength": 0.5}
    of_object = CHOSEN["text-to-3d"].settings
    values = of_object.gather(bpy.context.scene, {"prompt": "a mug", **chosen})
    assert not {"control", "control_model", "control_strength", "control_end"} & values.keys()


def test_a_strength_that_counted_for_nothing_is_not_reused_for_what_comes_after():
    """A texture without ControlNets, reused; then they are switched on again: at the usual strength."""
    csd, texture = bpy.context.scene.csd, CHOSEN["texture"].settings
    without = from_panel("texture", use_control=True, control="off")
    try:
        texture.reuse(bpy.context.scene, without.to_json())
        assert (csd.use_control, csd.control, csd.use_control_strength) == (True, "off", False)
        assert from_panel("texture").spec_hash() == without.spec_hash()
        csd.use_control = False
        assert (from_panel("texture").control, from_panel("texture").control_strength) == ("auto", 0.5)
    finally:
        for name in ("use_control", "control", "use_control_strength", "control_strength", "kind", "use_new_seed"):
            csd.property_unset(name)


def test_a_box_for_the_warm_start_that_is_ticked_begins_with_the_presets_number():
    csd = bpy.context.scene.csd
    for kind in ("texture", "text-to-3d"):
        csd.property_unset("warm_start")
        csd.kind, csd.use_warm_start = kind, False
        csd.use_warm_start = True
        assert csd.warm_start == 8 == from_panel(kind).warm_start
    for name in ("use_warm_start", "warm_start", "kind"):
        csd.property_unset(name)


def test_a_warm_start_is_the_presets_and_one_that_was_switched_off_is_reused_so():
    csd, texture = bpy.context.scene.csd, CHOSEN["texture"].settings
    names = ("use_warm_start", "warm_start", "use_steps", "steps", "use_control", "control", "kind", "use_new_seed")
    try:
        assert from_panel("texture").warm_start == 8
        cold = from_panel("texture", use_warm_start=True, warm_start=0)
        assert (cold.warm_start, cold.steps) == (0, 240)
        for name in names:
            csd.property_unset(name)
        texture.reuse(bpy.context.scene, cold.to_json())
        assert (csd.use_warm_start, csd.warm_start) == (True, 0)
        assert from_panel("texture").spec_hash() == cold.spec_hash()
        # Without ControlNets it counts for nothing: gray in the panel, and no reason to refuse the job.
        csd.warm_start, csd.use_control, csd.control = 8, True, "off"
        assert module("addon.kinds.common").unused(CHOSEN["texture"].spec, csd)["warm_start"] == "No ControlNet"
        assert from_panel("texture").warm_start == 0
    finally:
        for name in names:
            csd.property_unset(name)


def test_a_texture_from_gray_is_reused_without_leaving_its_steps_to_those_that_start_warm():
    csd, texture, times = bpy.context.scene.csd, CHOSEN["texture"].settings, module("job.presets.texture")
    names = ("use_warm_start", "warm_start", "use_steps", "steps", "use_control", "control", "kind", "use_new_seed")
    without = from_panel("texture", use_control=True, control="off")
    try:
        csd.use_control, csd.control = True, "off"
        assert texture.expected_seconds(csd) == times.EXPECTED_FROM_GRAY["normal"] and without.steps == 240
        texture.reuse(bpy.context.scene, without.to_json())
        assert not (csd.use_steps or csd.use_warm_start)
        csd.use_control = False
        assert texture.expected_seconds(csd) == times.EXPECTED_SECONDS["normal"] and from_panel("texture").steps == 60
    finally:
        for name in names:
            csd.property_unset(name)
