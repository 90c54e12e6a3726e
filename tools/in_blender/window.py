"""What scripts need in a Blender that has a window: its 3D view, the sidebar's tab, and steps between its events."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator

import bpy


def view():
    """Window, largest 3D view and its regions by type; looked up anew each time, as context is not reliable here."""
    window = bpy.context.window_manager.windows[0]
    areas = [a for a in window.screen.areas if a.type == "VIEW_3D"]
    area = max(areas, key=lambda a: a.width * a.height)
    return window, area, {r.type: r for r in area.regions}


def in_view():
    """A context in which operators find the 3D view."""
    window, area, regions = view()
    return bpy.context.temp_override(window=window, area=area, region=regions["WINDOW"])


def redraw() -> None:
    view()[1].tag_redraw()


def show_tab():
    """Open the sidebar's CSD tab, as steps of ``drive``: tabs exist only after the sidebar was drawn once."""
    view()[1].spaces.active.show_region_ui = True
    yield 0.5
    view()[2]["UI"].active_panel_category = "CSD"
    redraw()


def drive(steps: Iterator[float], then: Callable[[], object] | None = None) -> None:
    """Turn a generator by a timer, so that Blender's event loop runs between its steps (``yield seconds``).

    With ``then``, called at the end, the window is ours: after an error the process ends with status 3, so that no
    window is left behind. Without it the window is a person's and stays, whatever happens.
    """

    def turn() -> float | None:
        try:
            return next(steps)
        except StopIteration:
            if then is not None:
                then()
        except Exception:
            if then is None:
                raise
            traceback.print_exc()
            sys.stdout.flush()
            os._exit(3)
        return None

    bpy.app.timers.register(turn, first_interval=0.5, persistent=True)
