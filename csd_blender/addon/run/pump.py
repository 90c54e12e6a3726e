"""The timer that carries news from the backend into Blender: a few milliseconds on the main thread, then back."""

from __future__ import annotations

import logging
import time
from collections import deque

import bpy

from ...job.errors import JobError
from ...job.process.bodies import VIEW
from ..job import Problem
from ..process import backend
from ..scene.preview.pictures import Picture
from ..session import session
from . import lifecycle, screen, showing, view_icon
from .pace import Pace

BUDGET = 0.005  # seconds on the main thread for one tick
BUSY_INTERVAL, IDLE_INTERVAL = 0.1, 1.0
DRAWING_INTERVAL = 0.01  # while a redraw is awaited, to see how long it takes
REDRAW_INTERVAL = 0.5  # seconds between two redraws for progress alone; each has the whole window put together anew

log = logging.getLogger(__name__)
_news = False  # whether something is to be told that was not drawn yet
_drawn = 0.0  # when it was drawn last
_due = 0.0  # when the timer is to turn next
pace = Pace()
durations: deque[tuple[float, bool]] = deque(maxlen=4096)  # (seconds, whether a picture landed) of each tick


def tick() -> float | None:
    """One turn of the timer; returns when to call again, or None when there is nothing to wait for."""
    global _due
    began = time.perf_counter()
    pace.turned(began, _due)
    landed = False
    try:
        landed = work(began + BUDGET, pace.is_free(began))
    except Exception:
        log.exception("an event of the backend could not be shown")
        text = "Something went wrong while showing the preview."
        session.problem = Problem(text, "Blender's system console tells more.")
    durations.append((time.perf_counter() - began, landed))
    interval = next_interval()
    _due = time.perf_counter() + (interval or 0.0)
    return interval


def next_interval() -> float | None:
    running = session.setup is not None or session.download is not None
    if session.active_job() is not None or running or showing.pictures.busy():
        return DRAWING_INTERVAL if pace.waiting else BUSY_INTERVAL
    if session.job is not None and session.job.phase == "finished" and not session.job.final_shown:
        return IDLE_INTERVAL  # an object is in Edit Mode, or Blender renders
    alive = session.client is not None and session.client.state not in ("stopped", "lost")
    return IDLE_INTERVAL if alive else None


def work(deadline: float, may_draw: bool = True) -> bool:
    """Handle messages until ``deadline``, then at most one picture, if the window may be drawn anew.

    Returns whether one was put on the mesh.
    """
    global _news
    job, phase = session.job, phase_of(session.job)
    if session.client is not None:
        for message in session.client.poll(budget=max(0.0, deadline - time.perf_counter() - 0.001)):
            lifecycle.handle(message)
            _news |= message.type != "heartbeat"
    if session.setup is not None:
        _news |= session.setup.poll()
    if session.download is not None:
        _news |= session.download.poll()
    ended = phase_of(job) != phase
    job = session.job
    landed = False
    may_draw = may_draw or session.active_job() is None  # after its end there is little to come
    drawn_by_others = any(bpy.app.is_job_running(name) for name in ("RENDER", "OBJECT_BAKE"))
    if drawn_by_others:
        may_draw = False  # another thread reads the meshes and materials that a preview would change
    elif job is not None and job.phase == "finished" and not job.final_shown and not showing.waits_for_mode(job):
        job.final_shown = True
        showing.refresh_preview()
        ended, landed = True, not showing.pictures.busy()  # a finished object is still to be read
    elif may_draw and time.perf_counter() < deadline and (picture := showing.pictures.take()) is not None:
        if isinstance(picture, Picture) and picture.kind == VIEW:
            view_icon.show(picture)
            if job is not None:
                job.has_view = True
            _news = True
        elif showing.prepare_for(picture):
            showing.pictures.put_back(picture)
            may_draw = False  # the picture itself comes with the next turns: a slow display is not kept busy before it
        else:
            landed = showing.show_picture(picture)
    elif may_draw:
        landed = showing.show_unseen()
    redraw_when_due(ended, landed, may_draw)
    return landed


def phase_of(job) -> str:
    return job.phase if job is not None else ""


def redraw_when_due(ended: bool, landed: bool, may_draw: bool) -> None:
    """Have what changed drawn anew: a picture and what ended at once, progress with them or some time later.

    A picture in the scene has the 3D views that show it drawn by Blender itself.
    """
    global _news, _drawn
    now = time.monotonic()
    if ended or landed or (_news and may_draw and (session.active_job() is None or now - _drawn >= REDRAW_INTERVAL)):
        _news, _drawn = False, now
        pace.asked()
        screen.redraw(viewports=ended)


def start() -> None:
    """Make sure that the timer runs; without an event loop (background mode) it never fires."""
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


def warm_up_soon() -> None:
    """Start the backend shortly, so that it is ready when the artist, who writes a prompt now, presses the button."""
    idle = session.client is None and session.setup is None and backend.ready()
    if idle and not bpy.app.background and not bpy.app.timers.is_registered(warm_up):
        bpy.app.timers.register(warm_up, first_interval=0.1)


def warm_up() -> None:
    try:
        backend.client()
    except JobError:
        return  # pressing the button will say why
    start()


def stop() -> None:
    for timer in (tick, warm_up):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)


def run_to_end(job) -> None:
    """Wait here until ``job`` ended: for scripts, and for Blender without a window."""
    while job.active:
        if session.client is None:
            return
        for message in session.client.poll(budget=0.05):
            lifecycle.handle(message)
        showing.pictures.clear()
        time.sleep(0.01)
