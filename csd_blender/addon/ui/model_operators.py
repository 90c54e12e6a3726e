"""Operators for models: get, pause, cancel, remove, use. Only Get asks anything of a network, after its click."""

import shutil
import threading

import bpy
from bpy.props import StringProperty

from ...job.errors import JobError
from ...job.models.store import lock_file, own_folder, part_folder, set_aside
from ...job.process.processes import HeldFile
from ..errors import SceneError
from ..folders import size_text
from ..preferences import models_folder
from ..process import downloads
from ..properties import CONTEXT
from ..run import models, pump, screen
from ..session import session
from . import poll
from .operators import refuse

MODEL = {"model": StringProperty(name="Model", description="Its name in the list", options={"SKIP_SAVE"})}


class CSD_OT_model_get(bpy.types.Operator):
    """Download this model, or go on with its download"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.model_get"
    bl_label = "Get Model"
    bl_options = {"REGISTER"}
    __annotations__ = dict(MODEL)

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, poll.why_not_download())

    def invoke(self, context, event):
        """Show licence and size first."""
        name = self.model or context.window_manager.csd_model_name
        self.model = name.strip()
        if models.entry_named(self.model) is None:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(self, width=460, title="Get Model", confirm_text="Get")

    def draw(self, context):
        column = self.layout.column(align=True)
        for line in about(self.model):
            column.label(text=line, translate=False)

    def execute(self, context):
        entry = models.entry_named(self.model)
        if entry is None:
            text = f"“{self.model[:80]}” is no name of a model."
            return refuse(self, SceneError(text, "Choose one of the list, or a repository as owner/name."))
        if not entry.sources:
            return refuse(self, SceneError(f"{entry.label} needs no download.", "Choose it as the model."))
        found = models.find(entry.id)
        reason = poll.why_not_get(entry, found.done if found is not None else 0)
        if reason:
            return refuse(self, SceneError(f"{entry.label} cannot be got now.", f"{reason}."))
        try:
            session.problem, session.notice = None, ""
            session.download = downloads.start(entry)
        except JobError as error:
            return refuse(self, error)
        except OSError as error:
            return refuse(self, SceneError("The download cannot start.", f"The system says: {error.strerror}."))
        if bpy.app.background:
            downloads.run_to_end()
            if session.problem is not None:
                return refuse(self, SceneError(session.problem.text, session.problem.fix))
        else:
            pump.start()
        screen.redraw()
        return {"FINISHED"}


def about(model: str) -> list[str]:
    """What is to be known before a download begins."""
    entry = models.entry_named(model)
    if entry is None:
        return []
    size = f"{size_text(entry.download_mb * 10**6)} to download" if entry.download_mb else "Size: told once it begins"
    lines = [
        f"{entry.label}: {entry.purpose}",
        f"Licence: {entry.licence}, {entry.terms}",
        f"{size}, {size_text(session.models_free)} free in {models_folder()}",
    ]
    if entry.note:
        lines.append(entry.note)
    if entry.gated:
        lines.append(f"Agree to its licence on huggingface.co/{entry.sources[0]} first, and log in by “hf auth login”")
    return lines


class CSD_OT_model_pause(bpy.types.Operator):
    """Stop the download; what came is kept, and Resume goes on with it"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.model_pause"
    bl_label = "Pause Download"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if session.download else "No model is being downloaded")

    def execute(self, context):
        session.download.stop()
        return {"FINISHED"}


class CSD_OT_model_cancel(bpy.types.Operator):
    """Stop the download, and delete what came of it"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.model_cancel"
    bl_label = "Cancel Download"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return poll.allow(cls, "" if session.download else "No model is being downloaded")

    def execute(self, context):
        session.download.stop(forget=True)
        return {"FINISHED"}


class CSD_OT_model_remove(bpy.types.Operator):
    """Delete this model, or what came of it so far, from the folder of models"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.model_remove"
    bl_label = "Remove Model"
    bl_options = {"REGISTER"}
    __annotations__ = dict(MODEL)

    def invoke(self, context, event):
        found = models.find(self.model)
        size = f" ({size_text(found.total)})" if found is not None and found.total else ""
        message = f"{self.model}{size} is deleted from the disk"
        return context.window_manager.invoke_confirm(
            self, event, title="Remove Model", message=message, confirm_text="Remove"
        )

    def execute(self, context):
        root, reason = models_folder(), poll.why_not_remove(self.model)
        if reason:
            return refuse(self, SceneError("The model cannot be removed.", f"{reason}."))
        known = models.entry_named(self.model) is not None
        folders = [own_folder(self.model, root), part_folder(self.model, root)] if known else []
        if not any(folder.is_dir() for folder in folders):
            return refuse(self, SceneError("There is no such model in the models folder.", "Refresh the list."))
        try:
            with HeldFile(lock_file(self.model, root), "it is being downloaded"):
                gone = [aside for folder in folders if (aside := set_aside(folder)) is not None]
        except JobError as error:
            return refuse(self, error)
        threading.Thread(target=delete, args=(gone,), name="csd-remove-model", daemon=True).start()
        models.refresh(now=bpy.app.background)
        return {"FINISHED"}


def delete(folders) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class CSD_OT_model_use(bpy.types.Operator):
    """Let the next job use this model"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.model_use"
    bl_label = "Use Model"
    bl_options = {"REGISTER", "UNDO"}
    __annotations__ = dict(MODEL)

    def execute(self, context):
        context.scene.csd.model = self.model
        screen.redraw()
        return {"FINISHED"}


class CSD_OT_models_refresh(bpy.types.Operator):
    """Look again which models are on this computer"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.models_refresh"
    bl_label = "Refresh Models"
    bl_options = {"REGISTER"}

    def execute(self, context):
        models.refresh(now=bpy.app.background)
        return {"FINISHED"}


CLASSES = (
    CSD_OT_model_get,
    CSD_OT_model_pause,
    CSD_OT_model_cancel,
    CSD_OT_model_remove,
    CSD_OT_model_use,
    CSD_OT_models_refresh,
)
