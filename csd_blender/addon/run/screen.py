"""What is on the screen: which parts of it show a job, and having just those drawn again."""

from __future__ import annotations

import bpy

from ..kinds.texture import preview as texture_preview


def areas(kind: str = "VIEW_3D"):
    """All areas of one kind, in all windows."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == kind:
                yield area


def textures_are_seen() -> bool:
    """Whether any 3D view shows textures. Without a window, as if one did."""
    return bpy.app.background or any(texture_preview.is_shown_in(area.spaces.active) for area in areas())


def redraw(viewports: bool = False) -> None:
    """Have drawn anew what tells of the job, the CSD tabs and headers; with ``viewports`` also what shows the scene."""
    for area in areas("PREFERENCES"):
        area.tag_redraw()
    for area in areas():
        space = area.spaces.active
        for region in area.regions:
            if region.type == "WINDOW":
                wanted = viewports
            elif region.type == "UI":
                wanted = space.show_region_ui and shows_csd(region)
            else:
                wanted = region.type == "HEADER"
            if wanted:
                region.tag_redraw()


def shows_csd(region: bpy.types.Region) -> bool:
    return getattr(region, "active_panel_category", "CSD") == "CSD"
