"""The *Models* panel, and the same list in the preferences: what is here, what can be got, under which licence."""

from __future__ import annotations

import bpy

from ...job.models.states import ABSENT, BROKEN, BUNDLED, PAUSED, READY, ModelState
from ..folders import size_text
from ..properties import CONTEXT
from ..run import models
from ..session import session, time_text
from . import poll
from .panels import CSDPanel, write

#: What a licence says of commercial work, in as few words as a sidebar has room for; the dialog says it in full.
COMMERCIAL = {
    "yes": "permitted",
    "rules": "permitted, with rules",
    "limited": "up to 1 M$ a year",
    "no": "forbidden",
    "unknown": "see its page",
}
#: What takes an addition that is here, by its role.
TAKEN = {"control": "Taken by Control: Auto", "encoder": "Taken by Encoder: Small"}
ICONS = {BUNDLED: "CHECKMARK", READY: "CHECKMARK", PAUSED: "PAUSE", ABSENT: "IMPORT", BROKEN: "ERROR"}


class CSD_PT_models(CSDPanel, bpy.types.Panel):
    bl_translation_context = CONTEXT
    bl_label = "Models"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context):
        draw_models(self.layout, context)


def draw_models(layout, context) -> None:
    """All rows, from memory only; the disk is looked at in a thread."""
    if not session.models:
        layout.operator("csd.models_refresh", text="Show Models", icon="FILE_REFRESH", translate=False)
        return
    for found in models.offered():
        draw_model(layout, context, found)
    row = layout.row(align=True)
    row.prop(context.window_manager, "csd_model_name", text="", placeholder="another model: owner/name")
    button = row.row(align=True)
    button.enabled = bool(context.window_manager.csd_model_name.strip())
    button.operator("csd.model_get", text="Get", icon="IMPORT", translate=False).model = ""
    row = layout.row()
    row.active = False
    row.label(text=f"{size_text(session.models_free)} free for models", translate=False)
    row.operator("csd.models_refresh", text="", icon="FILE_REFRESH")
    if models.later():
        write(layout, context, "Not usable yet: " + ", ".join(entry.id for entry in models.later()))


def draw_model(layout, context, found: ModelState) -> None:
    entry, download = found.entry, session.download
    box = layout.box()
    head = box.row()
    head.label(text=entry.label, icon=ICONS[found.state], translate=False)
    sub = head.row(align=True)
    sub.alignment = "RIGHT"
    size = found.total or entry.download_mb * 10**6
    sub.label(text="bundled" if found.state == BUNDLED else size_text(size) if size else "", translate=False)
    column = box.column(align=True)
    column.scale_y = 0.8
    column.label(text=f"Licence: {entry.licence}", translate=False)
    column.label(text=f"Commercial use: {COMMERCIAL[entry.commercial]}", translate=False)
    if entry.memory_mb:
        more = " more" if entry.role != "model" else ""
        column.label(text=f"Memory: about {entry.memory_mb / 1000:.1f} GB{more}", translate=False)
    if download is not None and download.model == entry.id:
        draw_download(box, download)
        return
    if found.state in (PAUSED, BROKEN):
        write(box, context, found.text.capitalize() if found.state == PAUSED else f"{found.text}.", ICONS[found.state])
    row = box.row(align=True)
    if found.state in (READY, BUNDLED) and entry.role != "model":
        row.label(text=TAKEN[entry.role], translate=False)
    elif found.state in (READY, BUNDLED):
        used = context.scene.csd.model == entry.id
        chosen = row.row(align=True)
        chosen.enabled = not used
        chosen.operator("csd.model_use", text="In Use" if used else "Use", translate=False).model = entry.id
    else:
        reason = poll.why_not_get(entry, found.done)
        button = row.row(align=True)
        button.enabled = not reason
        text = {PAUSED: "Resume", BROKEN: "Get Again"}.get(found.state, "Get")
        button.operator("csd.model_get", text=text, icon="IMPORT", translate=False).model = entry.id
        if reason and download is None:
            write(box, context, f"{reason}.", "INFO")
    if found.own:
        text = "Cancel" if found.state == PAUSED else "Remove"
        gone = row.row(align=True)
        gone.enabled = not poll.why_not_remove(entry.id)
        gone.operator("csd.model_remove", text=text, icon="TRASH", translate=False).model = entry.id


def draw_download(box, download) -> None:
    box.label(text=download.text, translate=False)
    left = f", {time_text(download.seconds_left)} left" if download.seconds_left is not None else ""
    box.progress(factor=download.fraction, text=f"{download.fraction:.0%}{left}", type="BAR", translate=False)
    if download.total:
        rate = f", {size_text(int(download.rate))} a second" if download.rate else ""
        text = f"{size_text(download.done)} of {size_text(download.total)}{rate}"
        box.label(text=text, translate=False)
    row = box.row(align=True)
    row.operator("csd.model_pause", text="Pause", icon="PAUSE", translate=False)
    row.operator("csd.model_cancel", text="Cancel", icon="CANCEL", translate=False)


CLASSES = (CSD_PT_models,)
