"""Why a button can or cannot be pressed: cheap questions that ``poll`` and the panel share."""

from __future__ import annotations

import json
from types import ModuleType

import bpy

from ...job.models.catalogue import ModelEntry
from ...job.models.licences import models_of
from ...job.spec.settings import Setting
from ..folders import size_text
from ..job import Job
from ..kinds import common
from ..kinds.choose import Kind, chosen, kind_of
from ..kinds.texture import preview as texture_preview
from ..preferences import preference
from ..process import backend
from ..run import belonging
from ..session import session


def allow(operator, reason: str) -> bool:
    """For ``poll``: True without a reason, else False with the reason as the button's tooltip."""
    if reason:
        operator.poll_message_set(reason)
    return not reason


def why_busy() -> str:
    """What the backend makes now; empty when nothing."""
    job = session.active_job()
    return "" if job is None else f"{kind_of(job).noun.capitalize()} is being generated"


def why_not_run() -> str:
    """Why no job at all can begin."""
    if session.setup is not None:
        return "Set Up is running"
    return backend.why_not_ready() or why_busy()


def why_not_generate(context, kind: Kind) -> str:
    return why_not_run() or kind.job.why_not_start(context)


def why_not_press(context) -> str:
    """The same for the panel's button, which takes the panel's prompt."""
    kind, csd = chosen(context), context.scene.csd
    reason = why_not_generate(context, kind)
    empty = common.lacking(kind.spec, csd)
    return reason or ("" if empty is None else f"Write a {empty.label.lower()}")


def why_not_accept(context) -> str:
    job = session.job
    if job is None or job.phase != "finished":
        return "There is no finished texture or object"
    return belonging.accept_problem(job) or kind_of(job).job.why_not_accept(context)


def example_of(kind: Kind, setting: Setting, csd) -> str:
    """What an empty text field shows: what will be used then, or an example."""
    return setting.get("example") or kind.settings.usual(csd).get(setting.name) or "none"


def preview_of(job: Job | None) -> ModuleType:
    """How it is shown; without a job, that of an accepted texture."""
    return texture_preview if job is None else kind_of(job).preview


def offers_show_texture(context) -> bool:
    """Whether something of the job is in the scene, and the 3D view that the panel belongs to does not show it."""
    space, job = context.space_data, session.job
    if space is None or space.type != "VIEW_3D":
        return False
    if job is None:
        return session.show_textures and not preview_of(None).is_shown_in(space)
    if not job.in_scene or not (job.in_file or not kind_of(job).job.BELONGS_TO_FILE):
        return False
    return not preview_of(job).is_shown_in(space)


def has_ended() -> bool:
    return session.job is not None and not session.job.active


def why_not_resume() -> str:
    return why_busy() or backend.why_not_ready()


def why_not_setup() -> str:
    if session.setup is not None:
        return "Set Up is running"
    if why_busy():
        return why_busy()
    if backend.is_astray():  # what would be set up would not be used
        return f"{backend.why_not_ready()}; correct the path or clear it"
    if preference("wheel_folder") or bpy.app.online_access:
        return ""
    if bpy.app.online_access_override:
        return "Blender was started with --offline-mode; choose an Offline Packages folder in the preferences"
    return "Allow Online Access in Preferences > System, or choose Offline Packages in the extension's preferences"


def why_not_download() -> str:
    """Why no model at all can be got now."""
    if session.download is not None:
        return "Another model is being downloaded"
    if session.setup is not None:
        return "Set Up is running"
    if not backend.ready():
        return backend.why_not_ready()
    if bpy.app.online_access:
        return ""
    if bpy.app.online_access_override:
        return "Blender was started with --offline-mode"
    return "Allow Online Access in Preferences > System"


def why_not_get(entry: ModelEntry, done: int = 0) -> str:
    """The same for one model. ``done``: bytes of it that are here already."""
    if entry.commercial == "no" and preference("commercial_only", True):
        return "Its licence permits no commercial use, and the preferences allow only such as do"
    needed, free = entry.download_mb * 10**6 - done, session.models_free
    if 0 < free < needed:
        return f"It needs {size_text(needed)}, {size_text(free)} are free"
    return why_not_download()


def why_not_remove(model: str) -> str:
    """Why a model cannot be deleted now."""
    job = session.active_job()
    if job is not None and model in models_of(job.spec):
        return "A job uses it"
    return "It is being downloaded" if session.download is not None and session.download.model == model else ""


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
