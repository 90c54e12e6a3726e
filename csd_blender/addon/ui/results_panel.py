"""The *Results* panel: every job on the disk, the newest first, and what can be done with the chosen one."""

from __future__ import annotations

import bpy

from .. import folders
from ..folders import Entry
from ..kinds.choose import KINDS
from ..properties import CONTEXT
from ..run import results
from ..session import session
from . import poll
from .panels import CSDPanel, write

ICONS = {
    "finished": "SOLO_ON",
    "stopped early": "PAUSE",
    "not finished": "PAUSE",
    "accepted": "CHECKMARK",
    "discarded": "REMOVE",
    "answered": "CHECKMARK",
    "failed": "ERROR",
    "damaged": "ERROR",
}


class CSD_UL_results(bpy.types.UIList):
    """Prompt and age of each result"""

    def draw_item(self, _context, layout, _data, item, _icon, _active_data, _active_property, _index, _flag):
        entry = results.find(item.folder)
        if entry is None:
            return  # it has just gone
        row = layout.row(align=True)
        row.label(text=entry.prompt, icon=icon_of_kind(entry), translate=False)
        sub = row.row()
        sub.alignment = "RIGHT"
        sub.active = entry.waits
        sub.label(text="", icon=icon_of(entry))


def icon_of_kind(entry: Entry) -> str:
    return KINDS[entry.kind].icon if entry.kind in KINDS else "QUESTION"


def icon_of(entry: Entry) -> str:
    if session.job is not None and str(session.job.folder) == entry.folder:
        return "PLAY" if session.job.active else "HIDE_OFF"
    return ICONS[entry.state]


class CSD_PT_results(CSDPanel, bpy.types.Panel):
    bl_translation_context = CONTEXT
    bl_label = "Results"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 1

    @classmethod
    def poll(cls, context):
        return bool(session.results)

    def draw(self, context):
        layout = self.layout
        manager = context.window_manager
        layout.template_list("CSD_UL_results", "", manager, "csd_results", manager, "csd_result", rows=4, maxrows=8)
        entry = results.selected()
        if entry is not None:
            draw_entry(layout, context, entry)
        size = folders.size_text(sum(e.size for e in session.results))
        row = layout.row()
        row.active = False
        row.label(text=f"{len(session.results)} in all, {size} on the disk", translate=False)
        row.operator("csd.open_folder", text="", icon="FILE_FOLDER").folder = ""


def draw_entry(layout, context, entry: Entry) -> None:
    current = session.job is not None and str(session.job.folder) == entry.folder
    column = layout.column(align=True)
    write(column, context, f"“{entry.prompt}”")
    seed = f"Seed {entry.seed}, " if entry.seed is not None else ""
    running = current and session.job.active
    write(column, context, f"{seed}{entry.noun}, {'running' if running else entry.state}")
    write(column, context, f"{entry.made}, {folders.size_text(entry.size)}")
    column = layout.column(align=True)
    column.enabled = not poll.why_busy()
    if current and not running:
        write(column, context, "It is offered above.")
    elif entry.readable and not running:
        if entry.has_result:
            show = column.operator("csd.resume", text="Show Again", icon="HIDE_OFF", translate=False)
            show.folder, show.go_on = entry.folder, "show"
        if not entry.complete:
            column.operator("csd.resume", text="Resume", icon="PLAY", translate=False).folder = entry.folder
    row = column.row(align=True)
    row.operator("csd.open_folder", text="Folder", icon="FILE_FOLDER", translate=False).folder = entry.folder
    row.operator("csd.delete_result", text="Delete …", icon="TRASH", translate=False).folder = entry.folder


CLASSES = (CSD_UL_results, CSD_PT_results)
