"""Why a button can or cannot be pressed: cheap questions that ``poll`` and the panel share."""

from __future__ import annotations

import json

import bpy

from ..preferences import preference
from ..process import backend
from ..run import screen
from ..scene import targets
from ..session import session


def allow(operator, reason: str) -> bool:
    """For ``poll``: True without a reason, else False with the reason as the button's tooltip."""
    if reason:
        operator.poll_message_set(reason)
    return not reason


def why_busy() -> str:
    """What the backend makes now; empty when nothing."""
    job = session.active_job()
    return "" if job is None else f"{'An object' if job.makes_object else 'A texture'} is being generated"


def mesh_is_selected(context) -> bool:
    return any(o.type == "MESH" for o in context.selected_objects or ())


def offers_object(context) -> bool:
    """Whether the panel is about a new object now; else about a texture for what is selected."""
    job = session.active_job()
    return job.makes_object if job is not None else not mesh_is_selected(context)


def why_not_generate_object() -> str:
    if session.setup is not None:
        return "Set Up is running"
    if not backend.ready():
        return "The backend is not set up"
    return why_busy()


def why_not_generate(context) -> str:
    return why_not_generate_object() or ("" if mesh_is_selected(context) else "Select a mesh object")


def why_not_press(context) -> str:
    """The same for the panel's button, which takes the panel's prompt."""
    reason = why_not_generate_object() if offers_object(context) else why_not_generate(context)
    return reason or ("" if context.scene.csd.prompt.strip() else "Write a prompt")


def why_not_accept(context) -> str:
    job = session.job
    if job is None or job.phase != "finished":
        return "There is no finished texture or object"
    if targets.accept_problem(job):
        return targets.accept_problem(job)
    if job.makes_object and context.mode != "OBJECT":
        return "Go to Object Mode first"
    if context.mode == "EDIT_MESH":
        return "Leave Edit Mode first"
    return ""


def offers_show_texture(context) -> bool:
    """Whether something of the job is in the scene, and the 3D view that the panel belongs to does not show it."""
    space, job = context.space_data, session.job
    if space is None or space.type != "VIEW_3D":
        return False
    if job is None:
        return session.show_textures and not screen.shows_textures(space)
    if not job.in_scene or not (job.makes_object or job.in_file):
        return False
    return not (screen.shows_object_colors(space) if job.makes_object else screen.shows_textures(space))


def has_ended() -> bool:
    return session.job is not None and not session.job.active


def why_not_resume() -> str:
    return why_busy() or ("" if backend.ready() else "The backend is not set up")


def why_not_setup() -> str:
    if session.setup is not None:
        return "Set Up is running"
    if why_busy():
        return why_busy()
    if preference("wheel_folder") or bpy.app.online_access:
        return ""
    if bpy.app.online_access_override:
        return "Blender was started with --offline-mode; choose an Offline Packages folder in the preferences"
    return "Allow Online Access in Preferences > System, or choose Offline Packages in the extension's preferences"


def why_not_free() -> str:
    if why_busy():
        return why_busy()
    return "" if session.client is not None else "The backend is not running"


def settings_of(context) -> str:
    """JSON of the settings on the active object, or a word when the ended job has them."""
    if has_ended():
        return "job"
    obj = context.active_object
    return obj.get("csd_settings", "") if obj is not None else ""


def read_settings(context) -> dict:
    """The settings for *Reuse Settings*. Raises ``ValueError`` when they cannot be read."""
    if has_ended():
        return session.job.spec.to_json()
    return json.loads(settings_of(context))
