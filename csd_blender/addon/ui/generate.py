"""*Generate Texture*, *Generate Object*: one operator for each kind, all made here, and their place in the menus."""

from __future__ import annotations

from functools import partial

import bpy
from bpy.props import BoolProperty

from ...job.errors import JobError
from ...job.presets.effects import why_not_from_mesh
from ...job.process.bodies import Warned, read
from ...job.process.messages import Message
from .. import api
from ..errors import SceneError
from ..job import Job
from ..kinds import common
from ..kinds.choose import KINDS, Kind
from ..properties import CONTEXT, operator_properties
from ..run import lifecycle, pump
from ..scene.targets import mesh_is_selected
from . import poll
from .operators import refuse

WAIT = {
    "wait": BoolProperty(
        name="Wait",
        description="Return only when the result is finished and accepted, as is always done without a window",
        options={"SKIP_SAVE"},
        translation_context=CONTEXT,
    )
}


def make_operator(kind: Kind, name: str, doc: str) -> type:
    """The operator that starts a job of one kind; its arguments are the kind's settings."""

    def given(operator) -> dict:
        names = common.names(kind.spec)
        return {name: getattr(operator, name) for name in names if operator.properties.is_property_set(name)}

    def invoke(self, context, _event):
        """From a menu or the search: ask for the prompt. The panel's button does not come here."""
        csd = context.scene.csd
        for setting in top_settings(kind):
            # A negative prompt that was not written stays the preset's, whatever model is chosen later.
            as_usual = setting.name == "negative_prompt" and csd.use_negative_prompt and not csd.negative_prompt
            if not as_usual and not self.properties.is_property_set(setting.name):
                written = setting.name != "negative_prompt" or csd.use_negative_prompt
                setattr(self, setting.name, getattr(csd, setting.name) if written else "")
        again = bool(getattr(self, "refine_from", ""))
        title, confirm = ("Refine Again", "Refine") if again else (self.bl_label, "Generate")
        return context.window_manager.invoke_props_dialog(self, width=400, title=title, confirm_text=confirm)

    def draw(self, context):
        layout, csd = self.layout, context.scene.csd
        again = bool(getattr(self, "refine_from", ""))
        if again:
            layout.label(text="The coarse shape stays; its surface is made anew after this prompt.", translate=False)
        for setting in top_settings(kind):
            if setting.sort == "text":
                example = poll.example_of(kind, setting, csd)
                layout.column().prop(self, setting.name, placeholder=example)
            elif not again or setting.name == "quality":
                slider = setting.sort == "number"
                layout.row(align=True).prop(self, setting.name, expand=not slider, slider=slider)
        if hasattr(self, "start_from_mesh") and not again and mesh_is_selected(context):
            reason = why_not_from_mesh(self.recipe if self.properties.is_property_set("recipe") else csd.recipe)
            row = layout.row()
            row.enabled = not reason
            row.prop(self, "start_from_mesh")
            if reason:
                row = layout.row()
                row.active = False
                row.label(text=reason, translate=False)

    def execute(self, context):
        try:
            if self.wait or bpy.app.background:
                for applied in api.generate(kind, given(self), progress=partial(report_warning, self)):
                    if applied.message:
                        self.report({"WARNING"}, applied.message)
            else:
                lifecycle.start(context, kind, given(self))
                pump.start()
        except (SceneError, JobError) as error:
            return refuse(self, error)
        return {"FINISHED"}

    body = {
        "__doc__": doc,
        "__module__": __name__,
        "__annotations__": operator_properties(kind.spec) | WAIT,
        "bl_translation_context": CONTEXT,
        "bl_idname": kind.operator,
        "bl_label": kind.undo_step,
        "bl_options": {"REGISTER"},
        "poll": classmethod(lambda cls, context: poll.allow(cls, poll.why_not_generate(context, kind))),
        "invoke": invoke,
        "draw": draw,
        "execute": execute,
    }
    return type(name, (bpy.types.Operator,), body)


def report_warning(operator: bpy.types.Operator, message: Message) -> None:
    """Tell a script what the panel would show while the job runs."""
    said = read(message)
    if isinstance(said, Warned) and said.text:
        operator.report({"WARNING"}, said.text)


def top_settings(kind: Kind) -> list:
    """Those of the panel's top, which the dialog asks for as well."""
    return [s for s in common.shown_settings(kind.spec) if s.get("place") == "top"]


def again(job: Job, layout) -> None:
    """The button for another job that begins with this one's result, where there can be one."""
    kind = KINDS[job.spec.kind]
    found = kind.job.follow_up(job)
    if found is None:
        return
    row = layout.row()
    row.operator_context = "INVOKE_DEFAULT"  # its dialog shows which prompt it will use: the result's own at first
    button = row.operator(kind.operator, text=found[0], icon="SHADERFX", translate=False)
    for name, value in found[1].items():
        setattr(button, name, value)


CLASSES = tuple(
    make_operator(kind, "CSD_OT_" + kind.operator.partition(".")[2], kind.tooltip) for kind in KINDS.values()
)


def draw_in_menu(self, context):
    """At the end of *Add > Mesh*, which Edit Mode has as well, where no object can be added."""
    if context.mode == "OBJECT":
        self.layout.separator()
        self.layout.operator_context = "INVOKE_DEFAULT"
        for kind in KINDS.values():
            if kind.spec.makes_object:
                self.layout.operator(kind.operator, text=f"{kind.undo_step} …", icon="SHADERFX", translate=False)
