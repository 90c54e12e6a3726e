"""Run by `build.py blender` inside Blender's window: install the extension and open its tab in the sidebar."""

from __future__ import annotations

import os

import bpy

MODULE = "bl_ext.user_default.csd_blender"


def install() -> None:
    bpy.ops.extensions.package_install_files(
        filepath=os.environ["CSD_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
    )
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.data_folder = os.environ["CSD_DATA_FOLDER"]
    preferences.backend_python = os.environ["CSD_BACKEND_PYTHON"]


def steps():
    """A pause after each step: the sidebar's tabs exist only once it was drawn."""
    install()
    areas = [a for w in bpy.context.window_manager.windows for a in w.screen.areas if a.type == "VIEW_3D"]
    for area in areas:
        area.spaces.active.show_region_ui = True
    yield 0.5
    for area in areas:
        for region in area.regions:
            if region.type == "UI":
                region.active_panel_category = "CSD"
        area.tag_redraw()


_steps = steps()


def pump() -> float | None:
    return next(_steps, None)


bpy.app.timers.register(pump, first_interval=0.5)
