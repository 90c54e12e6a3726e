"""The operators: thin, every one a call of a plain function and a sentence when it cannot be done."""

import os

import bpy
from bpy.props import BoolProperty, EnumProperty

from ...job.errors import JobError
from ..errors import SceneError
from ..job import Problem
from ..kinds import common
from ..kinds.choose import KINDS
from ..preferences import log_path
from ..process import backend
from ..process import setup as backend_setup
from ..properties import CONTEXT
from ..run import belonging, lifecycle, pump, screen
from ..scene.stored_arrays import UNREADABLE
from ..session import session
from . import poll

MOST_NAMED = 8  # settings in one sentence


def refuse(operator: bpy.types.Operator, error: SceneError | JobError) -> set[str]:
    """Say what is wrong, in the panel and as a report. From a script, Blender raises it as RuntimeError."""
    text = error.text
    if isinstance(error, JobError) and error.detail:
        text = f"{error.text.rstrip('.')}: {error.detail}."
    session.problem = Problem(text, error.fix, code=getattr(error, "code", ""))
    operator.report({"ERROR"}, f"{text} {error.fix}".strip())
    screen.redraw()
    return {"CANCELLED"}


class CSD_OT_make(bpy.types.Operator):
    """Choose in the panel what is made, as the selection suggests"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.make"
    bl_label = "Choose What Is Made"
    bl_options = {"INTERNAL"}

    __annotations__ = {
        "kind": EnumProperty(
            items=[(name, kind.spec.label, kind.spec.help) for name, kind in KINDS.items()], options={"SKIP_SAVE"}
        )
    }

    def execute(self, context):
        context.scene.csd.kind = self.kind
        return {"FINISHED"}


class CSD_OT_cancel(bpy.types.Operator):
    """Stop the running job; what it has so far can still be accepted"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.cancel"
    bl_label = "Cancel Job"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if session.active_job() else "Nothing is being generated")

    def execute(self, context):
        lifecycle.cancel()
        screen.redraw()
        return {"FINISHED"}


class CSD_OT_accept(bpy.types.Operator):
    """Keep the texture or the object: an ordinary part of the file, its image packed into it"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.accept"
    bl_label = "Accept Result"
    bl_options = {"REGISTER", "UNDO"}

    __annotations__ = {
        "new_map": BoolProperty(
            name="On a New UV Map",
            description="Where the object's own UV map changed since, put the texture on a new one that fits it",
            options={"SKIP_SAVE"},
            translation_context=CONTEXT,
        )
    }

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, poll.why_not_accept(context))

    def invoke(self, context, event):
        """Ask where the texture is to go when the UV map that it was made for is no more."""
        job = session.job
        assert job is not None  # poll
        job.changed_maps = belonging.changed_maps(job)
        if not job.changed_maps or self.new_map:
            return self.execute(context)
        self.new_map = True
        manager = context.window_manager
        return manager.invoke_props_dialog(self, width=400, title="The UV Map Changed", confirm_text="Put on a New Map")

    def draw(self, context):
        column = self.layout.column(align=True)
        names = ", ".join(f"“{name}”" for name in session.job.changed_maps)
        column.label(text=f"The UV map of {names} changed since the job began.", translate=False)
        column.label(text="The texture can go on a new UV map. Your own maps stay as they are.", translate=False)

    def execute(self, context):
        try:
            applied = lifecycle.accept(self.new_map)
        except SceneError as error:
            return refuse(self, error)
        session.show_textures = any(a.object is not None for a in applied)
        if session.notice:
            self.report({"WARNING"}, session.notice)
        screen.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_discard(bpy.types.Operator):
    """Show the scene as it was before; the result stays in the list of results until it is deleted there"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.discard"
    bl_label = "Discard Result"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if poll.has_ended() else "There is no finished texture or object")

    def execute(self, context):
        if session.job.phase == "finished":  # undo, which takes this back, offers the result again
            session.discarded = session.job.folder
            for scene in bpy.data.scenes:  # all, since one may be deleted before the undo
                if scene.is_editable:
                    scene.csd.discarded = session.job.folder.name
        lifecycle.discard()
        screen.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_show_texture(bpy.types.Operator):
    """Let this 3D view show textures: Solid shading with texture color, or Material Preview for a growing object"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.show_texture"
    bl_label = "Show Texture"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        is_view = context.space_data is not None and context.space_data.type == "VIEW_3D"
        return poll.allow(cls, "" if is_view else "Only in a 3D view")

    def execute(self, context):
        poll.preview_of(session.job).show_in(context.space_data)
        session.show_textures = False
        screen.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_reuse_settings(bpy.types.Operator):
    """Take over prompt, seed and all other settings of the finished result or of what made the active object"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.reuse_settings"
    bl_label = "Reuse Settings"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if poll.settings_of(context) else "The active object was not generated")

    def execute(self, context):
        try:
            plain = poll.read_settings(context)
            lost = common.take_over(KINDS[plain["kind"]].settings, context.scene, plain)
        except (*UNREADABLE, JobError):
            return refuse(self, SceneError("The settings on this object cannot be read.", "Enter them by hand."))
        session.notice = ""
        if lost:
            names = ", ".join(lost[:MOST_NAMED]) + (f" and {len(lost) - MOST_NAMED} more" * (len(lost) > MOST_NAMED))
            session.notice = f"The panel cannot have it all; these are others than they were: {names}."
            self.report({"WARNING"}, session.notice)
        screen.redraw()
        return {"FINISHED"}


class CSD_OT_setup(bpy.types.Operator):
    """Install the backend into a folder of its own; Blender itself is not changed"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.setup"
    bl_label = "Set Up"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, poll.why_not_setup())

    def execute(self, context):
        try:
            session.problem = None
            session.setup = backend_setup.start()
        except (OSError, SceneError) as error:
            what = error.text if isinstance(error, SceneError) else f"{error.strerror}: {error.filename or log_path()}"
            return refuse(self, SceneError("Set Up cannot start.", f"The system says: {what}."))
        if bpy.app.background:
            backend_setup.run_to_end()
            if session.problem is not None:
                return refuse(self, SceneError(session.problem.text, session.problem.fix))
        else:
            pump.start()
        return {"FINISHED"}


class CSD_OT_setup_cancel(bpy.types.Operator):
    """Stop installing the backend; what was downloaded is used the next time"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.setup_cancel"
    bl_label = "Cancel Set Up"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if session.setup else "Set Up is not running")

    def execute(self, context):
        session.setup.cancel()
        return {"FINISHED"}


class CSD_OT_free_memory(bpy.types.Operator):
    """End the backend process, so that rendering gets all memory; it starts again with the next job"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.free_memory"
    bl_label = "Free Memory"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, poll.why_not_free())

    def execute(self, context):
        backend.stop()
        screen.redraw()
        return {"FINISHED"}


class CSD_OT_show_log(bpy.types.Operator):
    """Show the last lines of the backend's log"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.show_log"
    bl_label = "Show Log"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if os.path.exists(log_path()) else "There is no log yet")

    def invoke(self, context, event):
        try:
            self.lines = last_lines(log_path(), 24)
        except OSError as error:
            return refuse(self, SceneError("The log cannot be read.", f"The system says: {error.strerror}."))
        return context.window_manager.invoke_popup(self, width=760)

    def draw(self, context):
        layout = self.layout
        layout.label(text=str(log_path()), icon="TEXT", translate=False)
        column = layout.box().column(align=True)
        column.scale_y = 0.7
        for line in self.lines or ["It is empty."]:
            column.label(text=line[:140], translate=False)
        row = layout.row()
        row.operator("wm.path_open", text="Open the Whole Log", icon="FILE_TEXT", translate=False).filepath = str(
            log_path()
        )
        row.operator("csd.copy_log", icon="COPYDOWN")

    def execute(self, context):
        """For scripts: as a report."""
        try:
            self.report({"INFO"}, "\n".join(last_lines(log_path(), 24)))
        except OSError as error:
            return refuse(self, SceneError("The log cannot be read.", f"The system says: {error.strerror}."))
        return {"FINISHED"}


def last_lines(path, count: int) -> list[str]:
    """The end of a text file; reads at most the last 256 kB. Raises ``OSError``."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 2**18))
        text = file.read().decode("utf-8", "replace")
    return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]


class CSD_OT_copy_log(bpy.types.Operator):
    """Put the last two thousand lines of the log on the clipboard, to be pasted into a report"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.copy_log"
    bl_label = "Copy Log"
    bl_options = {"REGISTER"}

    def execute(self, context):
        try:
            context.window_manager.clipboard = "\n".join(last_lines(log_path(), 2000))
        except OSError as error:
            return refuse(self, SceneError("The log cannot be read.", f"The system says: {error.strerror}."))
        return {"FINISHED"}


CLASSES = (
    CSD_OT_make,
    CSD_OT_cancel,
    CSD_OT_accept,
    CSD_OT_discard,
    CSD_OT_show_texture,
    CSD_OT_reuse_settings,
    CSD_OT_setup,
    CSD_OT_setup_cancel,
    CSD_OT_free_memory,
    CSD_OT_show_log,
    CSD_OT_copy_log,
)
