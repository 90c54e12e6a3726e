"""The operators: thin, every one a call of a plain function and a sentence when it cannot be done."""

import os

import bpy
from bpy.props import BoolProperty, EnumProperty

from ..job.errors import JobError
from . import api, backend, backend_setup, jobs, object_settings, pump, settings, state
from .preferences import log_path
from .properties import setting_properties
from .scene_export import SceneError
from .session import Problem, session


def refuse(operator: bpy.types.Operator, error: SceneError | JobError) -> set[str]:
    """Say what is wrong, in the panel and as a report. From a script, Blender raises it as RuntimeError."""
    text = error.text
    if isinstance(error, JobError) and error.detail:
        text = f"{error.text.rstrip('.')}: {error.detail}."
    session.problem = Problem(text, error.fix, code=getattr(error, "code", ""))
    operator.report({"ERROR"}, f"{text} {error.fix}".strip())
    pump.redraw()
    return {"CANCELLED"}


class CSD_OT_texture(bpy.types.Operator):
    """Texture the selected meshes from all sides after the prompt"""

    bl_idname = "csd.texture"
    bl_label = "Generate Texture"
    bl_options = {"REGISTER"}

    # SKIP_SAVE: what is not given comes from the panel, never from the last call.
    __annotations__ = setting_properties(frozenset({"SKIP_SAVE"})) | {
        "wait": BoolProperty(
            name="Wait",
            description="Return only when the texture is finished and accepted, as is always done without a window",
            options={"SKIP_SAVE"},
        ),
    }

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_generate(context))

    def execute(self, context):
        overrides = {name: getattr(self, name) for name in settings.NAMES if self.properties.is_property_set(name)}
        try:
            objects = jobs.selected_meshes(context)
            if self.wait or bpy.app.background:
                results = api.texture(objects, **overrides)
                for message in (r.message for r in results if r.message):
                    self.report({"WARNING"}, message)
            else:
                jobs.start(context, objects, overrides)
                pump.start()
        except (SceneError, JobError) as error:
            return refuse(self, error)
        return {"FINISHED"}


class CSD_OT_cancel(bpy.types.Operator):
    """Stop the running job; what it has so far can still be accepted"""

    bl_idname = "csd.cancel"
    bl_label = "Cancel Texture Job"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, "" if session.active_job() else "No texture is being generated, and no object")

    def execute(self, context):
        jobs.cancel()
        pump.redraw()
        return {"FINISHED"}


class CSD_OT_accept(bpy.types.Operator):
    """Keep the texture or the object: an ordinary part of the file, its image packed into it"""

    bl_idname = "csd.accept"
    bl_label = "Accept Result"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_accept(context))

    def execute(self, context):
        try:
            jobs.accept()
        except SceneError as error:
            return refuse(self, error)
        if session.notice:
            self.report({"WARNING"}, session.notice)
        pump.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_discard(bpy.types.Operator):
    """Throw the result away and show the scene as it was before"""

    bl_idname = "csd.discard"
    bl_label = "Discard Result"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, "" if state.has_ended() else "There is no finished texture or object")

    def execute(self, context):
        jobs.discard()
        pump.redraw(viewports=True)
        return {"FINISHED"}


unfinished_items: list[tuple[str, str, str]] = []  # Blender needs the strings of an enum to stay alive


def list_unfinished(_self, _context):
    unfinished_items[:] = [(entry.folder, entry.label, "Go on with this job") for entry in session.unfinished]
    return unfinished_items


class CSD_OT_resume(bpy.types.Operator):
    """Go on with a job that was interrupted, or show a finished one that was never accepted"""

    bl_idname = "csd.resume"
    bl_label = "Resume Texture Job"
    bl_options = {"REGISTER"}
    bl_property = "job"

    __annotations__ = {"job": EnumProperty(name="Job", description="The job to go on with", items=list_unfinished)}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_resume())

    def invoke(self, context, event):
        job = session.job
        if job is not None and job.phase == "failed":
            return self.go_on(str(job.folder))
        jobs.look_for_unfinished()
        if len(session.unfinished) > 1:
            context.window_manager.invoke_search_popup(self)
            return {"FINISHED"}
        return self.execute(context)

    def execute(self, context):
        given = self.job if self.properties.is_property_set("job") else ""
        if not given:
            if session.job is not None and session.job.phase == "failed":
                given = str(session.job.folder)
            else:
                jobs.look_for_unfinished()
                given = session.unfinished[0][0] if session.unfinished else ""
        if not given:
            return refuse(self, SceneError("There is no unfinished job.", "Generate something first."))
        return self.go_on(given)

    def go_on(self, folder):
        try:
            if bpy.app.background:
                api.resume(folder)
            else:
                jobs.resume(folder)
                pump.start()
        except (SceneError, JobError) as error:
            return refuse(self, error)
        pump.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_reuse_settings(bpy.types.Operator):
    """Take over prompt, seed and all other settings of the finished result or of what made the active object"""

    bl_idname = "csd.reuse_settings"
    bl_label = "Reuse Settings"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, "" if state.settings_of(context) else "The active object was not generated")

    def execute(self, context):
        try:
            plain = state.read_settings(context)
            reuse = object_settings.reuse if plain.get("kind") == "text-to-3d" else settings.reuse
            reuse(context.scene, plain)
        except (ValueError, TypeError, AttributeError, JobError):
            return refuse(self, SceneError("The settings on this object cannot be read.", "Enter them by hand."))
        return {"FINISHED"}


class CSD_OT_setup(bpy.types.Operator):
    """Install the backend into a folder of its own; Blender itself is not changed"""

    bl_idname = "csd.setup"
    bl_label = "Set Up"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_setup())

    def execute(self, context):
        try:
            session.problem = None
            session.setup = backend_setup.start()
        except (OSError, SceneError) as error:
            return refuse(self, SceneError("Set Up cannot start.", str(error)))
        if bpy.app.background:
            backend_setup.run_to_end()
            if session.problem is not None:
                return refuse(self, SceneError(session.problem.text, session.problem.fix))
        else:
            pump.start()
        return {"FINISHED"}


class CSD_OT_setup_cancel(bpy.types.Operator):
    """Stop installing the backend; what was downloaded is used the next time"""

    bl_idname = "csd.setup_cancel"
    bl_label = "Cancel Set Up"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, "" if session.setup else "Set Up is not running")

    def execute(self, context):
        session.setup.cancel()
        return {"FINISHED"}


class CSD_OT_free_memory(bpy.types.Operator):
    """End the backend process, so that rendering gets all memory; it starts again with the next job"""

    bl_idname = "csd.free_memory"
    bl_label = "Free Memory"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, state.why_not_free())

    def execute(self, context):
        backend.stop()
        pump.redraw()
        return {"FINISHED"}


class CSD_OT_show_log(bpy.types.Operator):
    """Open the backend's log as a text in this file"""

    bl_idname = "csd.show_log"
    bl_label = "Show Log"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return state.allow(cls, "" if os.path.exists(log_path()) else "There is no log yet")

    def execute(self, context):
        try:
            with open(log_path(), encoding="utf-8", errors="replace") as file:
                lines = file.readlines()[-2000:]
        except OSError as error:
            return refuse(self, SceneError("The log cannot be read.", str(error)))
        text = bpy.data.texts.get("CSD Log") or bpy.data.texts.new("CSD Log")
        text.from_string("".join(lines))
        if not bpy.app.background:
            bpy.ops.wm.window_new()
            area = context.window_manager.windows[-1].screen.areas[0]
            area.type = "TEXT_EDITOR"
            area.spaces.active.text = text
        return {"FINISHED"}


CLASSES = (
    CSD_OT_texture,
    CSD_OT_cancel,
    CSD_OT_accept,
    CSD_OT_discard,
    CSD_OT_resume,
    CSD_OT_reuse_settings,
    CSD_OT_setup,
    CSD_OT_setup_cancel,
    CSD_OT_free_memory,
    CSD_OT_show_log,
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
