"""What a job asks of the window: little, and less where drawing is slow; and nothing that was not asked for."""

from types import SimpleNamespace

import pytest

from tests.support.blender import bpy, cube, module
from tests.support.by_hand import HandJob, ObjectHandJob, look
from tests.support.fake_layout import FakeLayout, panel_text

session = module("addon.session").session
screen = module("addon.run.screen")


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return HandJob(monkeypatch, **settings)

    return make


def view3d():
    return next(a for w in bpy.context.window_manager.windows for a in w.screen.areas if a.type == "VIEW_3D")


def in_view():
    window = bpy.context.window_manager.windows[0]
    return bpy.context.temp_override(window=window, screen=window.screen, area=view3d())


def pace():
    return module("addon.run.pace").Pace()


def test_a_redraw_that_takes_long_is_followed_by_a_pause_in_proportion():
    constants, this = module("addon.run.pace"), pace()
    assert this.is_free(10.0)
    this.asked()
    assert not this.is_free(10.0), "what was asked for last is not drawn yet"
    this.turned(10.31, due=10.01)  # the loop was held up for 0.3 s,
    this.turned(10.52, due=10.32)  # and again for 0.2 s by what followed
    assert not this.is_free(10.6)
    this.turned(10.53, due=10.53)
    assert not this.is_free(10.53 + 0.5 * constants.REST - 0.01)
    assert this.is_free(10.53 + 0.5 * constants.REST + 0.01)


def test_a_redraw_that_nobody_notices_needs_no_pause_and_no_pause_is_endless():
    constants, this = module("addon.run.pace"), pace()
    this.asked()
    this.turned(5.02, due=5.01)
    assert this.is_free(5.02)
    this.asked()
    this.turned(500.0, due=5.1)  # the computer slept
    this.turned(500.01, due=500.01)
    assert this.is_free(500.01 + constants.LONGEST)


def test_a_turn_that_comes_late_for_another_reason_costs_no_pause():
    this = pace()
    this.turned(20.0, due=10.0)
    assert this.is_free(20.0)


def test_pictures_wait_while_the_window_may_not_be_drawn_and_the_newest_comes_then(by_hand):
    job = by_hand()
    for color in ((255, 0, 0), (0, 0, 255)):
        pixels = bytes([*color, 255]) * 64 * 64
        job.say(
            "preview", path="preview/texture_0.rgba", kind="texture", part=0, width=64, height=64, step=1, pixels=pixels
        )
        assert not job.pump.work(job_deadline(), may_draw=False)
    assert look(cube())[2] == ""
    while job.live.pictures.busy():
        job.pump.work(job_deadline())
    image = cube().material_slots[0].material.node_tree.nodes.active.image
    assert image.pixels[2] > 0.9 and image.pixels[0] < 0.1


def job_deadline():
    import time

    return time.perf_counter() + 1


def test_the_window_is_not_drawn_anew_between_a_first_picture_s_parts(by_hand, monkeypatch):
    """A slow display would be drawing the panel then, and a short job be over before its texture is seen."""
    job = by_hand()
    asked = []
    monkeypatch.setattr(screen, "redraw", lambda **_: asked.append(look(cube())[2]))
    for kind, side in (("texture", 64), ("view", 32)):
        job.say("preview", path="x", kind=kind, part=0, width=side, height=side, step=1, pixels=bytes(side * side * 4))
    while job.live.pictures.busy() and not asked:
        job.pump.work(float("inf"))
    assert asked[0], "the first time, the texture is on the mesh"


def test_only_views_that_show_textures_count_as_seeing_them(monkeypatch):
    shading = view3d().spaces.active.shading
    monkeypatch.setattr(screen, "bpy", SimpleNamespace(app=SimpleNamespace(background=False), context=bpy.context))
    for kind, color, seen in (
        ("SOLID", "MATERIAL", False),
        ("SOLID", "TEXTURE", True),
        ("WIREFRAME", "TEXTURE", False),
        ("MATERIAL", "MATERIAL", True),
        ("RENDERED", "MATERIAL", True),
    ):
        shading.type, shading.color_type = kind, color
        assert screen.textures_are_seen() is seen, kind


def test_a_texture_that_no_view_shows_is_kept_and_goes_on_the_mesh_when_one_does(by_hand, monkeypatch):
    job = by_hand()
    job.preview(color=(255, 0, 0))

    def shown():
        pixels = cube().material_slots[0].material.node_tree.nodes.active.image.pixels
        return "red" if pixels[0] > pixels[2] else "blue"

    assert shown() == "red", "the first one always goes on the mesh"
    monkeypatch.setattr(screen, "textures_are_seen", lambda: False)
    job.preview(color=(0, 0, 255))
    assert shown() == "red"
    monkeypatch.setattr(screen, "textures_are_seen", lambda: True)
    job.pump.work(job_deadline())
    assert shown() == "blue"
    assert not job.live.unseen


def test_show_texture_is_offered_where_the_view_shows_none_and_changes_it_only_when_pressed(by_hand):
    space = view3d().spaces.active
    space.shading.type, space.shading.color_type = "SOLID", "MATERIAL"
    assert "Show Texture" not in panel_text(space=space), "nothing is being made"
    job = by_hand()
    job.preview()
    assert "Show Texture" in panel_text(space=space)
    job.finish()
    assert "Show Texture" in panel_text(space=space)
    assert (space.shading.type, space.shading.color_type) == ("SOLID", "MATERIAL")
    with in_view():
        assert bpy.ops.csd.show_texture() == {"FINISHED"}
    assert (space.shading.type, space.shading.color_type) == ("SOLID", "TEXTURE")
    assert "Show Texture" not in panel_text(space=space)
    space.shading.color_type = "MATERIAL"
    bpy.ops.csd.accept()
    assert "Show Texture" in panel_text(space=space), "the accepted texture is as gray in Solid shading"
    with in_view():
        bpy.ops.csd.show_texture()
    space.shading.color_type = "MATERIAL"
    assert "Show Texture" not in panel_text(space=space), "it was offered, and is not offered for ever"


def test_a_growing_object_is_shown_in_material_preview(monkeypatch):
    space = view3d().spaces.active
    space.shading.type, space.shading.color_type = "SOLID", "TEXTURE"
    cube().select_set(False)
    job = ObjectHandJob(monkeypatch)
    job.preview()
    assert "Show Texture" in panel_text(space=space)
    with in_view():
        bpy.ops.csd.show_texture()
    assert space.shading.type == "MATERIAL" and "Show Texture" not in panel_text(space=space)


def test_the_header_tells_of_a_job_until_it_is_answered(by_hand):
    menus = module("addon.ui.menus")
    assert menus.draw_header in bpy.types.VIEW3D_HT_header._dyn_ui_initialize()

    def header():
        texts = []
        menus.draw_header(SimpleNamespace(layout=FakeLayout(texts)), bpy.context)
        return texts

    assert header() == []
    job = by_hand()
    job.say("stage", name="paint", label="Painting")
    job.say("progress", stage="paint", step=50, total=100, seconds_left=3.0)
    assert header() == ["CSD: 68%"]
    job.finish()
    assert header() == ["CSD: finished"]
    bpy.ops.csd.discard()
    assert header() == []


def test_the_pace_of_the_pictures_is_a_preference_and_leaves_the_job_its_fingerprint(by_hand):
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    usual = by_hand()
    assert usual.job.spec.preview_interval == 1.5
    usual.say("cancelled", kept=False, files={})
    preferences.preview_interval = 5.0
    slow = by_hand()
    assert slow.job.spec.preview_interval == 5.0 and slow.job.spec.spec_hash() == usual.job.spec.spec_hash()
    slow.say("cancelled", kept=False, files={})
    cube().select_set(False)
    spec = module("addon.kinds.object.settings").make_spec(
        {
            k: v
            for k, v in module("addon.kinds.object.settings").gather(bpy.context.scene, {"prompt": "x"}).items()
            if k != "modifiers"
        }
    )
    assert spec.preview_interval == 5.0
    preferences.property_unset("preview_interval")


def test_our_words_are_not_translated_half(by_hand):
    """Blender translates what it knows; in a context of our own it knows nothing."""
    for owner in (bpy.types.Scene.bl_rna.properties["csd"].fixed_type, preferences_type()):
        for item in owner.properties:
            if item.identifier not in ("rna_type", "name", "bl_idname", "discarded", "form"):
                assert item.translation_context == "CSD", item.identifier
    classes = [*module("addon.ui.operators").CLASSES, *module("addon.ui.result_operators").CLASSES]
    for cls in [*classes, bpy.types.CSD_OT_text_to_3d, bpy.types.CSD_PT_main, bpy.types.CSD_PT_results]:
        assert cls.bl_translation_context == "CSD", cls.__name__


def preferences_type():
    return bpy.context.preferences.addons[module("").__name__].preferences.bl_rna


def test_accept_in_edit_mode_says_why_not_beside_the_button(by_hand):
    job = by_hand()
    job.finish()
    assert "Leave Edit Mode first." in panel_text(mode="EDIT_MESH")
    assert "Leave Edit Mode first." not in panel_text()


def test_the_computers_memory_is_not_taken_for_the_jobs(by_hand):
    backend = module("addon.process.backend")
    job = by_hand()
    device = module("job.process.bodies").Device("cpu", memory_mb=24 * 1024)
    assert backend.memory_text(device) == ""
    job.say("progress", stage="paint", step=1, total=2, memory_mb=1536, seconds_left=1.0)
    assert backend.memory_text(device) == "1.5 of 24 GB used"
    job.finish()
    assert backend.memory_text(device) == ""


def test_a_result_in_another_file_says_where_it_belongs_and_cannot_be_accepted(by_hand, tmp_path):
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    job = by_hand()
    job.preview()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    assert any("belongs to scene.blend" in t for t in panel_text()), "while it runs as well"
    job.finish()
    assert not bpy.ops.csd.accept.poll()
    assert any("It belongs to scene.blend" in t for t in panel_text())
    bpy.ops.wm.open_mainfile(filepath=path)
    assert look(cube())[2].startswith(job.job.id) and bpy.ops.csd.accept() == {"FINISHED"}


def test_refine_again_shows_and_uses_the_results_own_prompt(monkeypatch):
    cube().select_set(False)
    job = ObjectHandJob(monkeypatch, prompt="small robot")
    job.finish()
    bpy.context.scene.csd.prompt = "something else"
    asked = []

    class Layout(FakeLayout):
        def operator(self, name, **settings):
            super().operator(name, **settings)
            record = SimpleNamespace(name=name)
            asked.append(record)
            return record

        def _part(self, *_args, heading="", translate=True, **_kwargs):
            return Layout(self.texts)

        row = column = box = split = _part

    panels = module("addon.ui.panels")
    context = SimpleNamespace(region=None, preferences=bpy.context.preferences, mode="OBJECT", space_data=None)
    panels.draw_finished(Layout([]), context, session.job)
    [again] = [record for record in asked if record.name == "csd.text_to_3d"]
    assert (again.prompt, again.refine_from) == ("small robot", str(job.job.folder))


def test_saving_under_another_name_takes_the_results_of_the_file_along(by_hand, tmp_path):
    first = by_hand(prompt="red brick")
    first.finish()
    second = by_hand(prompt="blue brick")  # the first one waits in the list
    second.finish()
    path = str(tmp_path / "saved later.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.csd.discard()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "and again.blend"))
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    for job in (first, second):
        shown = module("addon.run.lifecycle").resume(job.job.folder, show=True)
        assert not shown.in_file and not bpy.ops.csd.accept.poll()
        assert any("belongs to and again.blend" in t for t in panel_text())
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "and again.blend"))
    assert session.job.in_file and bpy.ops.csd.accept.poll()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a third name.blend"), copy=True)
    assert session.job.in_file
