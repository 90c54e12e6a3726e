"""A setting is one thing wherever it is met: in the spec, the panel, the operator and the command line."""

import argparse
import functools
import itertools
import json

import pytest

from tests.support.blender import bpy, module

KINDS = module("job.kinds").KINDS
shown, scripted = module("job.spec.settings").shown_settings, module("job.spec.settings").scripted_settings
CHOSEN = module("addon.kinds.choose").KINDS


def cases():
    return [(kind, setting) for kind in KINDS for setting in shown(kind.spec)]


def texts(kind) -> dict:
    """What a job of the kind cannot begin without."""
    return {setting.name: "a mug" for setting in shown(kind.spec) if setting.get("needed")}


def operator_of(kind):
    _, name = CHOSEN[kind.spec.kind].operator.split(".")
    return getattr(bpy.ops.csd, name).get_rna_type().properties


def options_of(kind) -> dict:
    parser = argparse.ArgumentParser()
    module("backend.cli.options").add_settings(parser, kind.spec)
    return {action.dest: action for action in parser._actions}


@pytest.mark.parametrize(("kind", "setting"), cases(), ids=lambda v: getattr(v, "name", None) or v.spec.kind)
def test_a_setting_has_one_label_range_and_default(kind, setting):
    scene = module("addon.properties").CSDSceneSettings.bl_rna.properties
    owners = [(operator_of(kind), setting.name)] + ([(scene, setting.held_as)] if setting.held_as in scene else [])
    assert len(owners) == 2 or setting.get("place") == "hidden"
    for owner, name in owners:
        found = owner[name]
        assert found.name == setting.label or setting.name == "prompt"  # the scene has one for all kinds
        assert found.description == setting.help or setting.name == "prompt"
        if setting.get("usual"):
            low, high = setting.limits
            assert [int(item.identifier) for item in found.enum_items] == list(setting.get("usual"))
            assert low <= min(setting.get("usual")) and max(setting.get("usual")) <= high
            assert found.default == str(setting.default)
        elif setting.sort == "choice":
            assert [item.identifier for item in found.enum_items] == [option.id for option in setting.options]
            assert found.default == setting.default
        elif setting.sort in ("whole", "number"):
            low, high = setting.limits
            assert found.hard_min == pytest.approx(low) and found.hard_max == pytest.approx(high)
            assert found.default == pytest.approx(setting.default) and found.soft_max <= found.hard_max
        else:
            assert found.default == setting.default


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_the_command_line_has_every_setting_and_no_default_of_its_own(kind):
    options = options_of(kind)
    for setting in (*shown(kind.spec), *scripted(kind.spec)):
        if not setting.path:
            continue  # the job's input has arguments of its own
        option = options[setting.name]
        assert option.default is None, "it is the spec that says what happens without"
        assert option.help == setting.help and "--" + setting.name.replace("_", "-") in option.option_strings
        if setting.sort == "choice":
            assert option.choices == [o.id for o in setting.options]


def test_every_kind_has_a_row_in_the_addon_and_its_operator_is_named_after_it():
    assert list(CHOSEN) == [kind.spec.kind for kind in KINDS]
    for kind in CHOSEN.values():
        assert getattr(bpy.ops.csd, kind.operator.partition(".")[2]).get_rna_type().description == kind.tooltip
        assert kind.tooltip and not kind.tooltip.endswith(".")
    names = ("texture", "text-to-3d", "edit", "image")
    assert [CHOSEN[name].operator for name in names] == ["csd.texture", "csd.text_to_3d", "csd.edit", "csd.image"]
    assert [CHOSEN[name].noun for name in names] == ["a texture", "an object", "an edit", "a picture"]


def test_every_setting_of_the_panel_stands_somewhere_in_it():
    places = {setting.get("place", "guidance") for _kind, setting in cases()}
    assert places <= {"top", "guidance", "output", "hidden"}


def words(**chosen):
    return [part for name, value in chosen.items() for part in (f"--{name}", value)]


def from_panel(kind: str, **chosen):
    csd = bpy.context.scene.csd
    for name, value in chosen.items():
        setattr(csd, name, value)
    try:
        settings = CHOSEN[kind].settings
        return settings.make_spec(settings.gather(bpy.context.scene, texts(CHOSEN[kind])))
    finally:
        for name in chosen:
            csd.property_unset(name)


def from_shell(kind: str, **chosen):
    found = module("job.kinds").find_kind(kind)
    parser = argparse.ArgumentParser()
    module("backend.cli.options").add_settings(parser, found.spec)
    arguments = parser.parse_args(words(**texts(found), **chosen))
    return found.make(**module("backend.cli.options").given_settings(arguments, found.spec))


QUALITIES, MODELS = ("draft", "normal", "best"), ("mini", "sd15")


@pytest.mark.parametrize(
    ("quality", "model", "method"), list(itertools.product(QUALITIES, MODELS, module("job.spec.methods").METHODS))
)
def test_panel_and_shell_make_the_same_texture(quality, model, method):
    chosen = {"quality": quality, "model": model, "method": method}
    assert from_panel("texture", **chosen).spec_hash() == from_shell("texture", **chosen).spec_hash()


@pytest.mark.parametrize(("quality", "model"), list(itertools.product(QUALITIES, MODELS)))
def test_panel_and_shell_make_the_same_object(quality, model):
    text_to_3d = module("job.spec.text_to_3d")
    for recipe, subject in itertools.product(text_to_3d.RECIPES, text_to_3d.SUBJECTS):
        chosen = {"quality": quality, "model": model, "recipe": recipe, "subject": subject}
        panel, shell = from_panel("text-to-3d", **chosen), from_shell("text-to-3d", **chosen)
        assert panel.spec_hash() == shell.spec_hash(), chosen


@pytest.mark.parametrize("alignment", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("quality", "model"), list(itertools.product(QUALITIES, MODELS)))
def test_panel_and_shell_make_the_same_edit(quality, model, alignment):
    panel = from_panel("edit", quality=quality, model=model, alignment=alignment)
    assert panel.spec_hash() == from_shell("edit", quality=quality, model=model, alignment=str(alignment)).spec_hash()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_what_is_reused_makes_the_same_job_again_for_every_setting(kind):
    """One setting after the other is given another value than its preset has, and comes back by *Reuse Settings*."""
    settings, scene = CHOSEN[kind.spec.kind].settings, bpy.context.scene
    for setting in shown(kind.spec):
        if not setting.path or setting.name == "prompt":
            continue
        value = another_value(setting)
        spec = settings.make_spec(settings.gather(scene, texts(kind) | {setting.name: value}))
        settings.reuse(scene, spec.to_json())
        again = settings.make_spec(settings.gather(scene, {}))
        assert again == spec, setting.name
        for name in scene.csd.bl_rna.properties.keys():
            scene.csd.property_unset(name)


def another_value(setting):
    if setting.get("usual"):
        return str(setting.get("usual")[0])
    if setting.sort == "choice":
        return next(option.id for option in setting.options if option.id != setting.default)
    if setting.sort == "switch":
        return not setting.default
    if setting.sort == "text":
        return {"model": "sd15", "control": "depth"}.get(setting.name, "rusty")
    low, high = setting.limits
    return int(min(high, low + 7)) if setting.sort == "whole" else min(high, max(low, 0.25))


def test_a_light_that_is_selected_does_not_turn_the_panel_over():
    csd, chosen = bpy.context.scene.csd, module("addon.kinds.choose")
    bpy.ops.object.light_add()
    assert chosen.chosen(bpy.context).spec.kind == "texture"
    assert chosen.suggested(bpy.context).spec.kind == "text-to-3d"
    csd.kind = "text-to-3d"
    assert chosen.suggested(bpy.context) is None
    bpy.ops.object.select_all(action="DESELECT")
    assert chosen.chosen(bpy.context).spec.kind == "text-to-3d"
    assert bpy.ops.csd.make(kind="texture") == {"FINISHED"} and csd.kind == "texture"


def test_a_box_that_is_ticked_begins_with_the_preset_s_value():
    csd = bpy.context.scene.csd
    csd.quality, csd.use_steps, csd.use_texture_size = "best", True, True
    assert (csd.steps, csd.texture_size) == (240, "2048")
    csd.quality, csd.use_coarse_steps, csd.use_refine_steps = "draft", True, True
    assert (csd.coarse_steps, csd.refine_steps) == (40, 60), "the spec's own defaults would take an hour"
    csd.use_steps, csd.steps = False, 77
    csd.use_steps = True
    assert csd.steps == 77, "what was written once is kept"
    assert from_panel("texture").perp_neg == -1.0
    csd.use_perp_neg = True
    assert csd.perp_neg == 1.0 == from_panel("texture").perp_neg, "the usual strength"


def test_a_model_s_name_that_no_job_can_have_leaves_the_panel_whole():
    csd = bpy.context.scene.csd
    for csd.model in ("", "x" * 3000):
        assert all(kind.settings.usual(csd)["model"] == "mini" for kind in CHOSEN.values())


@pytest.mark.parametrize("given", [{"recipe": []}, {"refine_from": 3}, {"prompt": 3}, {"modifiers": []}])
def test_what_is_of_a_wrong_type_is_refused_in_a_sentence(given):
    api = module("addon.api")
    with pytest.raises(module("job.errors").JobError) as caught:
        api.text_to_3d(**{"prompt": "a mug", **given})
    assert next(iter(given)) in caught.value.detail


@pytest.mark.parametrize("kind", ["texture", "text-to-3d"])
def test_a_language_model_that_is_not_here_is_missed_before_anything_is_written(kind, tmp_path):
    settings, common = CHOSEN[kind].settings, module("addon.kinds.common")
    with pytest.raises(module("job.errors").JobError) as caught:
        common.asked(settings, bpy.context, texts(CHOSEN[kind]) | {"debias_prompt": str(tmp_path / "gone")})
    assert caught.value.code == "language_model_missing"
    given = texts(CHOSEN[kind]) | {"debias_prompt": "mini", "debias_words": "mug"}
    assert common.asked(settings, bpy.context, given)["debias_words"] == "mug"


def test_a_script_is_told_why_a_kind_has_no_such_setting():
    with pytest.raises(TypeError, match="unknown setting 'perp_neg'; A picture has no sides"):
        module("addon.api").image("a mug", perp_neg=1.0)
    with pytest.raises(TypeError, match="unknown setting 'loudness'; known are prompt"):
        module("addon.api").image("a mug", loudness=1.0)


def test_settings_without_a_negative_prompt_leave_its_box_alone():
    for kind in CHOSEN.values():
        kind.settings.reuse(bpy.context.scene, {"kind": kind.spec.kind})
        assert bpy.context.scene.csd.use_negative_prompt


def test_only_what_can_be_made_is_chosen():
    with pytest.raises(TypeError, match="film"):
        bpy.ops.csd.make(kind="film")
    assert bpy.ops.csd.make(kind="text-to-3d") == {"FINISHED"} and bpy.context.scene.csd.kind == "text-to-3d"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_every_setting_that_a_script_gives_arrives_in_the_job(kind):
    settings = CHOSEN[kind.spec.kind].settings
    for setting in scripted(kind.spec):
        value = "cpu" if setting.name == "device" else another_value(setting)
        given = texts(kind) | ({"shape": "free"} if setting.name.startswith("shape_") else {}) | {setting.name: value}
        spec = settings.make_spec(settings.gather(bpy.context.scene, given))
        assert setting.find(spec.to_json()) == value, setting.name


def test_what_is_gray_in_the_panel_does_not_make_another_job():
    usual, csd = from_panel("texture"), bpy.context.scene.csd
    csd.guidance_scale = 30.0
    assert from_panel("texture").spec_hash() == usual.spec_hash()
    assert from_panel("texture", method="sds").guidance.guidance_scale == 30.0
    csd.property_unset("guidance_scale")
    found = from_panel("texture", method="sdi")
    for name, value in (("noise", "surface"), ("times", "falling"), ("negative_course", "rising")):
        assert from_panel("texture", method="sdi", **{name: value}).spec_hash() == found.spec_hash(), name
    assert from_panel("texture", noise="surface").noise == "surface"


@pytest.mark.parametrize("kind", ["texture", "text-to-3d"])
def test_prompt_debiasing_is_shown_and_counts_where_it_has_an_effect(kind):
    usual, csd = from_panel(kind), bpy.context.scene.csd
    unused = functools.partial(module("addon.kinds.common").unused, CHOSEN[kind].spec)
    csd.debias_words = "smiling"
    assert "debias_words" in unused(csd) and "debias_prompt" not in unused(csd)
    assert from_panel(kind).spec_hash() == usual.spec_hash()
    csd.debias_prompt = "mini"
    assert not {"debias_words", "debias_prompt"} & unused(csd).keys()
    spec = from_panel(kind)
    assert (spec.debias_prompt, spec.debias_words) == ("mini", "smiling")
    csd.view_prompts = False
    assert {"debias_words", "debias_prompt"} <= unused(csd).keys() and from_panel(kind).debias_prompt == ""
    for name in ("debias_words", "debias_prompt", "view_prompts"):
        csd.property_unset(name)


@pytest.mark.parametrize("kind", sorted(CHOSEN))
def test_a_lora_is_shown_and_counts_where_it_has_an_effect(kind):
    usual, csd = from_panel(kind), bpy.context.scene.csd
    unused = functools.partial(module("addon.kinds.common").unused, CHOSEN[kind].spec)
    csd.lora, csd.lora_weight = "/style.safetensors", 0.8
    assert {"lora", "lora_weight"} <= unused(csd).keys(), "none was made for the bundled model"
    assert from_panel(kind).spec_hash() == usual.spec_hash()
    csd.model = "sd15"
    assert not {"lora", "lora_weight"} & unused(csd).keys()
    spec = from_panel(kind)
    assert (spec.lora, spec.lora_weight) == ("/style.safetensors", pytest.approx(0.8))
    csd.lora = ""
    assert unused(csd).keys() & {"lora", "lora_weight"} == {"lora_weight"} and from_panel(kind).lora_weight == 1.0
    for name in ("lora", "lora_weight", "model"):
        csd.property_unset(name)


def test_settings_that_cannot_be_reused_change_nothing():
    csd, settings = bpy.context.scene.csd, CHOSEN["texture"].settings
    plain = from_panel("texture").to_json() | {"prompt": "a golden mug", "seed": "seven"}
    before = {name: getattr(csd, name) for name in csd.bl_rna.properties.keys()}
    with pytest.raises(TypeError, match="seed"):
        settings.reuse(bpy.context.scene, plain)
    assert {name: getattr(csd, name) for name in before} == before


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_a_setting_that_is_younger_than_the_job_is_reused_as_what_jobs_did_before_it(kind):
    settings, scene = CHOSEN[kind.spec.kind].settings, bpy.context.scene
    for setting in (s for s in shown(kind.spec) if s.path and s.field.metadata["added"]):
        plain = settings.make_spec(settings.gather(scene, texts(kind) | {"model": "sd15"})).to_json()
        del plain[setting.path[0]]
        if setting.preset:
            setattr(scene.csd, f"use_{setting.name}", True)
        setattr(scene.csd, setting.held_as, another_value(setting))
        assert take_over(kind, plain) == []
        again = settings.make_spec(settings.gather(scene, {}))
        assert again.spec_hash() == kind.spec.from_json(plain).spec_hash(), setting.name
        for name in scene.csd.bl_rna.properties.keys():
            scene.csd.property_unset(name)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"render_size": 128}, "render size"),
        ({"noise": "a word of a later version"}, "Noise"),
        ({"steps": 10**9}, "Steps"),
        ({"lora": "x.safetensors", "model": "sd15", "lora_weight": float("nan")}, "LoRA Strength"),
        ({"negative_prompt": "half a \ud800"}, "Negative Prompt"),
        ({"texture_size": 300}, "Size"),
        ({"a setting of a later version": 1}, "a setting of a later version"),
    ],
)
def test_what_the_panel_cannot_have_of_reused_settings_is_named(changed, said):
    cube = bpy.data.objects["Cube"]
    cube["csd_settings"] = json.dumps(from_panel("texture").to_json() | changed)
    assert bpy.ops.csd.reuse_settings() == {"FINISHED"}
    assert said in module("addon.session").session.notice.partition(": ")[2].rstrip(".").split(", ")
    cube["csd_settings"] = json.dumps(from_panel("texture").to_json())
    bpy.ops.csd.reuse_settings()
    assert module("addon.session").session.notice == ""


@pytest.mark.parametrize("changed", [{"prompt": "half a \ud800"}, {"prompt": "x" * 3000}, {"control": "dpeth"}])
def test_settings_that_no_job_can_have_are_refused_and_change_nothing(changed):
    csd = bpy.context.scene.csd
    plain = from_panel("texture").to_json() | {"seed": 77, "quality": "best"} | changed
    bpy.data.objects["Cube"]["csd_settings"] = json.dumps(plain)
    before = {name: (csd.is_property_set(name), getattr(csd, name)) for name in csd.bl_rna.properties.keys()}
    with pytest.raises(RuntimeError, match="cannot be read. Enter them by hand"):
        bpy.ops.csd.reuse_settings()
    assert {name: (csd.is_property_set(name), getattr(csd, name)) for name in before} == before


def test_digits_that_blender_does_not_keep_are_not_taken_for_another_setting():
    edit = next(kind for kind in KINDS if kind.spec.kind == "edit")
    settings = CHOSEN["edit"].settings
    spec = settings.make_spec(settings.gather(bpy.context.scene, texts(edit) | {"alignment": 1 / 3}))
    assert take_over(edit, spec.to_json()) == []


def take_over(kind, plain):
    return module("addon.kinds.common").take_over(CHOSEN[kind.spec.kind].settings, bpy.context.scene, plain)
