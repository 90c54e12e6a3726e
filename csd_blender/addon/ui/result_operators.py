"""What can be done with the jobs in the list of results: go on, show again, look at the files, delete."""

import os
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from ...job.errors import JobError
from ...job.files import CONTROL_PICTURE
from .. import api, folders
from ..errors import SceneError
from ..preferences import jobs_folder
from ..properties import CONTEXT
from ..run import lifecycle, pump, results, screen
from ..session import session
from . import poll
from .operators import refuse

choices: list[tuple[str, str, str]] = []  # Blender needs the strings of an enum to stay alive


def list_results(_self, _context):
    choices[:] = [(entry.folder, entry.label, "Show it again, or go on with it") for entry in session.results]
    return choices


class CSD_OT_resume(bpy.types.Operator):
    """Go on with a job that was interrupted, or show a finished one again"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.resume"
    bl_label = "Resume Job"
    bl_options = {"REGISTER"}
    bl_property = "job"

    __annotations__ = {
        "job": EnumProperty(
            name="Job", description="The job to go on with", items=list_results, translation_context=CONTEXT
        ),
        "folder": StringProperty(
            name="Folder", description="Its folder, in place of Job", options={"SKIP_SAVE"}, translation_context=CONTEXT
        ),
        "go_on": EnumProperty(
            name="What",
            description="What to do with a job that was stopped early",
            items=[
                ("auto", "Resume", "Go on with it when it is not complete"),
                ("show", "Show", "Show what there is so far"),
            ],
            options={"SKIP_SAVE"},
            translation_context=CONTEXT,
        ),
    }

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, poll.why_busy())

    def invoke(self, context, event):
        if self.folder:
            return self.open(self.folder)
        job = session.job
        if job is not None and job.phase == "failed":
            return self.open(str(job.folder))
        results.refresh(now=True)
        if len(session.results) > 1:
            context.window_manager.invoke_search_popup(self)
            return {"FINISHED"}
        return self.execute(context)

    def execute(self, context):
        if self.folder:
            return self.open(self.folder)
        given = self.job if self.properties.is_property_set("job") else ""
        if not given and session.job is not None and session.job.phase == "failed":
            given = str(session.job.folder)
        if not given:
            results.refresh(now=True)
            given = next((entry.folder for entry in (*results.waiting(), *session.results)), "")
        if not given:
            return refuse(self, SceneError("There is no unfinished job.", "Generate something first."))
        return self.open(given)

    def open(self, folder: str):
        show = self.go_on == "show"
        try:
            if bpy.app.background and not show:
                api.resume(folder)
            else:
                lifecycle.resume(Path(folder), show)
                pump.start()
        except (SceneError, JobError) as error:
            return refuse(self, error)
        screen.redraw(viewports=True)
        return {"FINISHED"}


class CSD_OT_delete_result(bpy.types.Operator):
    """Delete this result and everything its job left on the disk, for good"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.delete_result"
    bl_label = "Delete Result"
    bl_options = {"REGISTER"}

    __annotations__ = {
        "folder": StringProperty(
            name="Folder", description="Folder of the job", options={"SKIP_SAVE"}, translation_context=CONTEXT
        )
    }

    # No poll: a script may come before the list was ever read, and the disk is looked at when it runs.

    def invoke(self, context, event):
        entry = results.find(self.folder)
        if entry is None:
            return self.execute(context)
        self.lines = [
            f"“{folders.short(entry.prompt, 40)}”, {entry.kind}, {entry.state}",
            f"{entry.made}, {folders.size_text(entry.size)}",
            "It is deleted for good. What you accepted stays in your files.",
        ]
        return context.window_manager.invoke_props_dialog(
            self, width=360, title="Delete Result", confirm_text="Delete", cancel_default=True
        )

    def draw(self, context):
        column = self.layout.column(align=True)
        for line in self.lines:
            column.label(text=line, translate=False)

    def execute(self, context):
        folder = Path(self.folder)
        job = session.job
        try:
            if job is not None and job.folder == folder:
                if job.active:
                    raise SceneError("This job is still running.", "Cancel it first.")
                lifecycle.put_aside()
            folders.remove(folder, jobs_folder())
        except SceneError as error:
            return refuse(self, error)
        finally:
            results.refresh(now=bpy.app.background)
        results.drop(str(folder))
        screen.redraw(viewports=True)
        return {"FINISHED"}


def open_by_system(operator: bpy.types.Operator, path: Path) -> set[str]:
    """Have the system show a file or folder; a sentence where there is none."""
    if not os.path.exists(path):
        return refuse(operator, SceneError(f"There is no {path}.", "It was deleted, or nothing was generated yet."))
    return bpy.ops.wm.path_open(filepath=str(path))


class CSD_OT_open_folder(bpy.types.Operator):
    """Open the folder of this job in the system's file manager"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.open_folder"
    bl_label = "Show Folder"
    bl_options = {"REGISTER"}

    __annotations__ = {
        "folder": StringProperty(
            name="Folder", description="Folder of the job", options={"SKIP_SAVE"}, translation_context=CONTEXT
        )
    }

    def execute(self, context):
        return open_by_system(self, Path(self.folder or jobs_folder()))


class CSD_OT_show_control(bpy.types.Operator):
    """Look at what the ControlNets see of the shape, in the system's picture viewer"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.show_control"
    bl_label = "Show Control Pictures"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        has_some = session.job is not None and session.job.has_control
        return poll.allow(cls, "" if has_some else "No ControlNet is at work")

    def execute(self, context):
        path = session.job.folder / CONTROL_PICTURE
        if not path.is_file():
            return refuse(self, SceneError("The control pictures are gone.", "Generate again."))
        return open_by_system(self, path)


CLASSES = (CSD_OT_resume, CSD_OT_delete_result, CSD_OT_open_folder, CSD_OT_show_control)
