"""What there is besides the CSD tab: *Object > CSD*, which the menu search looks through, and a word in the headers of
the 3D views, which tells of a job when the tab is closed."""

import bpy

from ..kinds.choose import KINDS
from ..properties import CONTEXT
from ..session import session
from .generate import draw_in_menu


class CSD_MT_object(bpy.types.Menu):
    """Textures and objects from text"""

    bl_translation_context = CONTEXT
    bl_idname = "CSD_MT_object"
    bl_label = "CSD"

    def draw(self, _context):
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        for kind in KINDS.values():
            text = f"Generate {kind.spec.label} …"
            layout.operator(kind.operator, text=text, icon=kind.icon, translate=False)
        layout.separator()
        layout.operator("csd.cancel", icon="CANCEL")
        layout.operator("csd.accept", icon="CHECKMARK")
        layout.operator("csd.discard", icon="TRASH")
        layout.operator("csd.resume", text="Resume Job or Show Result …", icon="RECOVER_LAST", translate=False)
        layout.operator("csd.reuse_settings", icon="FILE_REFRESH")
        layout.operator("csd.show_texture", icon="SHADING_TEXTURE")
        layout.separator()
        layout.operator("csd.show_log", icon="TEXT")


def draw_menu(self, _context):
    self.layout.separator()
    self.layout.menu(CSD_MT_object.bl_idname, icon="SHADERFX", translate=False)


def draw_header(self, _context):
    """A word about the job at the end of a 3D view's header, as long as it runs or waits for an answer."""
    text = header_text()
    if text:
        self.layout.separator()
        self.layout.label(text=text, icon="SHADERFX", translate=False)


def header_text() -> str:
    job = session.job
    if job is None or not job.in_scene:
        return ""
    if job.phase == "cancelling":
        return "CSD: stopping …"
    if job.phase == "finished":
        return "CSD: finished"
    return f"CSD: {job.fraction():.0%}"


CLASSES = (CSD_MT_object,)


def register() -> None:
    bpy.types.VIEW3D_MT_object.append(draw_menu)
    bpy.types.VIEW3D_MT_mesh_add.append(draw_in_menu)
    bpy.types.VIEW3D_HT_header.append(draw_header)


def unregister() -> None:
    bpy.types.VIEW3D_HT_header.remove(draw_header)
    bpy.types.VIEW3D_MT_mesh_add.remove(draw_in_menu)
    bpy.types.VIEW3D_MT_object.remove(draw_menu)
