"""*Generate Object*: the operator, its dialog, and its place in the *Add* menu."""

import bpy
from bpy.props import BoolProperty

from ..job.errors import JobError
from . import api, jobs, object_settings, pump, state, usual_words
from .operators import refuse
from .properties import CONTEXT, object_properties
from .scene_export import SceneError

IN_DIALOG = ("prompt", "negative_prompt", "subject", "quality")


class CSD_OT_text_to_3d(bpy.types.Operator):
    """Make a new textured object from the prompt, at the 3D cursor"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.text_to_3d"
    bl_label = "Generate Object"
    bl_options = {"REGISTER"}

    # SKIP_SAVE: what is not given comes from the panel, never from the last call.
    __annotations__ = object_properties(frozenset({"SKIP_SAVE"})) | {
        "wait": BoolProperty(
            name="Wait",
            description="Return only when the object is finished and accepted, as is always done without a window",
            options={"SKIP_SAVE"},
            translation_context=CONTEXT,
        ),
    }

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_generate_object())

    def invoke(self, context, event):
        """From the menu or the search: ask for the prompt. The panel's button does not come here."""
        for name in IN_DIALOG:
            untouched = name == "negative_prompt" and not context.scene.csd.is_property_set(name)
            if not untouched and not self.properties.is_property_set(name):
                setattr(self, name, getattr(context.scene.csd, name))
        title, confirm = ("Refine Again", "Refine") if self.refine_from else ("Generate Object", "Generate")
        return context.window_manager.invoke_props_dialog(self, width=400, title=title, confirm_text=confirm)

    def draw(self, context):
        layout = self.layout
        column = layout.column()
        column.prop(self, "prompt", placeholder="a wooden chair, a small robot …")
        column.prop(self, "negative_prompt", placeholder=usual_words.placeholder(self, context.scene.csd, True))
        if self.refine_from:
            column.label(text="The coarse shape stays; its surface is made anew after this prompt.", translate=False)
        else:
            row = layout.row(align=True)
            row.prop(self, "subject", expand=True)
        row = layout.row(align=True)
        row.prop(self, "quality", expand=True)
        if not self.refine_from and state.mesh_is_selected(context):
            layout.prop(self, "start_from_mesh")

    def execute(self, context):
        given = [name for name in object_settings.NAMES if self.properties.is_property_set(name)]
        overrides = {name: getattr(self, name) for name in given}
        try:
            if self.wait or bpy.app.background:
                api.text_to_3d(**overrides)
            else:
                jobs.start_object(context, overrides)
                pump.start()
        except (SceneError, JobError) as error:
            return refuse(self, error)
        return {"FINISHED"}


def draw_in_menu(self, context):
    """At the end of *Add > Mesh*, which Edit Mode has as well, where no object can be added."""
    if context.mode == "OBJECT":
        self.layout.separator()
        self.layout.operator_context = "INVOKE_DEFAULT"
        self.layout.operator(CSD_OT_text_to_3d.bl_idname, text="Generate Object …", icon="SHADERFX", translate=False)


def register() -> None:
    bpy.utils.register_class(CSD_OT_text_to_3d)


def unregister() -> None:
    bpy.utils.unregister_class(CSD_OT_text_to_3d)
