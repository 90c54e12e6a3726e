"""Draws the panels without a window: a layout that only remembers what was written on it."""

from types import SimpleNamespace

from tests.support.blender import bpy, module


class FakeLayout:
    """Takes every call of a ``UILayout``; texts, and the labels of enabled operators, end up in ``texts``."""

    def __init__(self, texts):
        object.__setattr__(self, "texts", texts)

    def __setattr__(self, name, value):
        pass

    def _part(self, *_args, heading="", translate=True, **_kwargs):
        if heading:
            self.write(heading, translate)
        return FakeLayout(self.texts)

    def write(self, text, translate):
        """Our own words must stay as they are: what Blender would translate here and there reads like a mistake."""
        assert not translate or not any(c.isalpha() for c in text), f"“{text}” would be half translated"
        self.texts.append(text)

    row = column = box = split = _part

    def label(self, text="", icon="NONE", translate=True):
        check_icon(icon)
        self.write(text, translate)

    def operator(self, name, text=None, icon="NONE", emboss=True, translate=True):
        check_icon(icon)
        if text is None:
            cls = getattr(bpy.types, "CSD_OT_" + name.split(".")[1])
            text, translate = cls.bl_label, cls.bl_translation_context != "CSD"
        self.write(text, translate)
        return FakeLayout(self.texts)

    def prop(self, data, name, text=None, icon="NONE", expand=False, slider=False, placeholder="", translate=True):
        check_icon(icon)
        shown = data.bl_rna.properties[name]
        if text is None:
            text, translate = shown.name, shown.translation_context != "CSD"
        self.write(text, translate)

    def menu(self, name, text="", icon="NONE", translate=True):
        check_icon(icon)
        self.write(text, translate)

    def separator(self):
        pass

    def template_list(self, _cls, _id, data, rows_name, _active_data, active_name, rows=0, maxrows=0):
        rows = getattr(data, rows_name)
        assert 0 <= getattr(data, active_name) <= max(0, len(rows) - 1)
        for item in rows:
            cls = module("addon.ui.results_panel").CSD_UL_results
            cls.draw_item(None, None, self, None, item, 0, None, "", 0, 0)

    def progress(self, factor=0.0, text="", type="BAR", translate=True):
        assert 0 <= factor <= 1
        self.write(text, translate)

    def template_icon(self, icon_value, scale):
        assert icon_value > 0


def check_icon(icon):
    assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items


PANELS = ("CSD_PT_main", "CSD_PT_guidance", "CSD_PT_output", "CSD_PT_results", "CSD_PT_backend")


def panel_text(names=PANELS, mode="OBJECT", space=None):
    """All texts of the panels, in order; ``space`` is the 3D view they stand beside."""
    texts = []
    context = SimpleNamespace(
        scene=bpy.context.scene,
        region=None,
        preferences=bpy.context.preferences,
        selected_objects=bpy.context.view_layer.objects.selected[:],
        active_object=bpy.context.view_layer.objects.active,
        view_layer=bpy.context.view_layer,
        mode=mode,
        space_data=space,
        window_manager=bpy.context.window_manager,
    )
    for name in names:
        panel = getattr(module("addon.ui.results_panel" if name == "CSD_PT_results" else "addon.ui.panels"), name)
        if not getattr(panel, "poll", lambda _context: True)(context):
            continue
        panel.draw(SimpleNamespace(layout=FakeLayout(texts)), context)
    return texts
