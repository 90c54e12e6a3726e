"""Draws the panels without a window: a layout that only remembers what was written on it."""

from types import SimpleNamespace

from tests.addon.blender import bpy, module


class FakeLayout:
    """Takes every call of a ``UILayout``; texts, and the labels of enabled operators, end up in ``texts``."""

    def __init__(self, texts):
        object.__setattr__(self, "texts", texts)

    def __setattr__(self, name, value):
        pass

    def _part(self, *_args, heading="", **_kwargs):
        if heading:
            self.texts.append(heading)
        return FakeLayout(self.texts)

    row = column = box = split = _part

    def label(self, text="", icon="NONE"):
        check_icon(icon)
        self.texts.append(text)

    def operator(self, name, text=None, icon="NONE", emboss=True):
        check_icon(icon)
        if text is None:
            text = getattr(bpy.types, "CSD_OT_" + name.split(".")[1]).bl_label
        self.texts.append(text)
        return FakeLayout(self.texts)

    def prop(self, data, name, text=None, icon="NONE", expand=False, placeholder=""):
        check_icon(icon)
        self.texts.append(data.bl_rna.properties[name].name if text is None else text)

    def progress(self, factor=0.0, text="", type="BAR"):
        assert 0 <= factor <= 1
        self.texts.append(text)

    def template_icon(self, icon_value, scale):
        assert icon_value > 0


def check_icon(icon):
    assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items


def panel_text(names=("CSD_PT_main", "CSD_PT_guidance", "CSD_PT_output", "CSD_PT_backend")):
    """All texts of the panels, in order."""
    texts = []
    context = SimpleNamespace(
        scene=bpy.context.scene,
        region=None,
        preferences=bpy.context.preferences,
        selected_objects=bpy.context.view_layer.objects.selected[:],
        active_object=bpy.context.view_layer.objects.active,
        view_layer=bpy.context.view_layer,
        mode="OBJECT",
    )
    for name in names:
        panel = getattr(module("addon.panels"), name)
        panel.draw(SimpleNamespace(layout=FakeLayout(texts)), context)
    return texts
