"""One job from the click to accept or discard. Operators, the pump and the API all come through here."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import bpy

from ..job.errors import JobError
from ..job.folder import JobFolder
from ..job.messages import Message
from . import backend, preview, scene_export, scene_import, settings
from .pictures import Picture, PictureMaker
from .preferences import jobs_folder
from .scene_export import SceneError, Target
from .session import Job, Problem, session

# Errors whose detail an artist can use; that of the others is for the log.
TELLING = ("bad_setting", "model_missing", "model_unreadable", "uv_overlap", "uv_missing", "no_space", "no_permission")
CLOSED = "closed"  # a file in the job folder: the artist accepted or discarded the result

pictures = PictureMaker()
shown: dict[int, Picture] = {}  # the newest texture of each part, to be shown again after an undo or a save


def selected_meshes(context) -> list[bpy.types.Object]:
    """The selected mesh objects, the active one first."""
    active = context.view_layer.objects.active
    chosen = [o for o in context.view_layer.objects.selected if o.type == "MESH"]
    if active in chosen:
        chosen.remove(active)
        chosen.insert(0, active)
    return chosen


def start(context, objects: Sequence[bpy.types.Object], overrides: dict) -> Job:
    """Export ``objects``, write the job folder and hand it to the backend.

    Args:
        overrides: settings by name (see :mod:`settings`); what is missing comes from the scene.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was started then.
    """
    if session.active_job() is not None:
        raise JobError("busy")
    preview.uncover_all()  # the export must not see a preview's UV map
    try:
        job = write_job(context, objects, settings.gather(context.scene, overrides))
        client = backend.client()
    except BaseException:
        refresh_preview()  # the texture before this one is not lost
        raise
    discard()
    begin(job, client, resume=False)
    return job


def write_job(context, objects: Sequence[bpy.types.Object], chosen: dict) -> Job:
    """Export ``objects`` and write the job folder. Raises as :func:`start` does."""
    if not chosen["prompt"].strip():
        raise SceneError("The prompt is empty.", "Write what the surface should look like.")
    export = scene_export.export_objects(
        objects, context.evaluated_depsgraph_get(), chosen.pop("modifiers"), chosen["uv"]
    )
    chosen["uv"] = export.uv
    spec = settings.make_spec(chosen)
    backend.command()  # without a backend nothing is written
    job_id = new_job_id(spec.prompt)
    folder = JobFolder.create(jobs_folder() / job_id, spec)
    folder.write_bytes("mesh.npz", export.mesh_bytes())
    # Last, since a folder that has it is offered to be resumed.
    for name, data in scene_export.targets_bytes(export.targets, bpy.data.filepath).items():
        folder.write_bytes(name, data)
    return Job(job_id, Path(folder.path), spec, export.targets, bpy.data.filepath)


def new_job_id(prompt: str) -> str:
    """A folder name that sorts by time and can be read: ``20260131-201502-red-brick``."""
    words = "-".join(re.findall(r"[a-z0-9]+", prompt.lower())[:4])
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{words[:32] or 'texture'}-{random.randrange(16**4):04x}"


def begin(job: Job, client, resume: bool) -> None:
    client.submit(job.id, str(job.folder), resume=resume)
    session.job = job
    session.notice, session.problem = "", None
    forget_pictures()


def resume(folder: Path) -> Job:
    """Go on with a job of this or an earlier session; a finished one is shown again.

    Raises:
        SceneError, JobError: when the folder cannot be used.
    """
    if session.active_job() is not None:
        raise JobError("busy")
    opened = JobFolder.open(folder)
    targets, blend_file = scene_export.read_targets(Path(folder))
    job = Job(Path(folder).name, Path(folder), opened.spec, targets, blend_file)
    finished = is_finished(job.folder)
    client = None if finished else backend.client()
    discard()
    bind(job)
    if finished:
        job.phase = "finished"
        session.job = job
        session.notice, session.problem = "", None
        refresh_preview()
    else:
        begin(job, client, resume=True)
    return job


def bind(job: Job) -> None:
    """Find the job's objects by name after a file was loaded; only meshes with the same faces count.

    A job of one object that was renamed since also takes the active object.
    """
    for target in job.targets:
        candidates = [bpy.data.objects.get(target.name)]
        if len(job.targets) == 1:
            candidates.append(bpy.context.view_layer.objects.active)
        found = next((o for o in candidates if suits(o, target)), None)
        target.uid = found.session_uid if found is not None else 0


def suits(obj: bpy.types.Object | None, target: Target) -> bool:
    if obj is None or obj.type != "MESH":
        return False
    if target.maps_back:
        return scene_export.fingerprint(obj.data) == target.topology
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    try:
        return scene_export.fingerprint(evaluated.to_mesh()) == target.topology
    finally:
        evaluated.to_mesh_clear()


def find_object(target: Target) -> bpy.types.Object | None:
    """The target's object; None when it was deleted."""
    obj = bpy.data.objects.get(target.name)
    if obj is not None and obj.session_uid == target.uid:
        return obj
    obj = next((o for o in bpy.data.objects if o.session_uid == target.uid), None) if target.uid else None
    if obj is not None:
        target.name = obj.name
    return obj


def cancel() -> None:
    """Ask the running job to stop; what it has so far is offered."""
    job = session.active_job()
    if job is not None and session.client is not None:
        job.phase = "cancelling"
        session.client.cancel(job.id)


def handle(message: Message) -> None:
    """Bring the session up to date with one message from the backend."""
    for listener in list(session.listeners):
        listener(message)
    job = session.job
    if job is None or message.job != job.id or not job.active:
        return
    body = message.body
    if message.type == "stage":
        job.enter_stage(body.get("name", ""), body.get("label", ""))
    elif message.type == "progress":
        job.step, job.total = body.get("step", 0), body.get("total", 0)
        job.seconds_left = body.get("seconds_left")
        job.memory_mb, job.device_memory_mb = body.get("memory_mb", 0), body.get("device_memory_mb", 0)
    elif message.type == "preview":
        part = body.get("part", 0)
        pictures.put(body, job.folder, job.targets[part] if part < len(job.targets) else None)
    elif message.type == "warning":
        text = body.get("text", "")
        if text and text not in job.warnings:
            job.warnings.append(text)
    elif message.type in ("result", "cancelled", "error"):
        end(job, message)


def end(job: Job, message: Message) -> None:
    """The job's terminal event."""
    body = message.body
    if message.type == "result":
        finish(job)
    elif message.type == "cancelled":
        job.stopped_early = True
        if body.get("kept"):
            finish(job)
        else:
            end_without_result(job, "cancelled")
            if not has_checkpoint(job):
                close_folder(job)
    else:
        text, fix = body.get("text", "The backend failed."), body.get("fix", "")
        if body.get("detail") and body.get("code") in TELLING:
            text = f"{text.rstrip('.')}: {body['detail']}."
        problem = Problem(text, fix, bool(body.get("retryable")), body.get("code", ""))
        end_without_result(job, "failed", problem)


def finish(job: Job) -> None:
    job.seconds = time.monotonic() - job.started
    try:
        scene_import.read_result(job.folder)
    except SceneError as error:
        end_without_result(job, "failed", Problem(error.text, error.fix, retryable=True))
        return
    job.phase = "finished"


def end_without_result(job: Job, phase, problem: Problem | None = None) -> None:
    job.phase, job.problem = phase, problem
    job.seconds = time.monotonic() - job.started
    forget_pictures()
    preview.uncover_all()


def forget_pictures() -> None:
    pictures.clear()
    shown.clear()


def prepare_for(picture: Picture) -> bool:
    """Do one of the things that only a part's first picture needs; False when nothing is left to do.

    Each takes some milliseconds on a large mesh or picture, so the pump does one a tick.
    """
    job = session.job
    if job is None or not job.active or picture.part >= len(job.targets):
        return False
    obj = find_object(job.targets[picture.part])
    if obj is not None and picture.uv is not None and not obj.csd.added_uv:
        preview.mark(obj, preview.preview_key(job.id, picture.part))
        return bool(preview.add_uv(obj, picture.uv))
    return preview.ensure_image(preview.preview_key(job.id, picture.part), picture.width, picture.height)


def show_picture(picture: Picture) -> None:
    """Put a texture preview on the mesh."""
    job = session.job
    if job is None or not job.active or picture.part >= len(job.targets):
        return
    shown[picture.part] = picture
    key = preview.preview_key(job.id, picture.part)
    image = preview.set_pixels(key, picture.width, picture.height, picture.pixels)
    show_on_mesh(job, picture.part, image, picture)


def show_on_mesh(job: Job, part: int, image: bpy.types.Image, picture: Picture | None = None) -> None:
    obj = find_object(job.targets[part])
    if obj is None:
        return
    key = preview.preview_key(job.id, part)
    preview.mark(obj, key)
    layer = preview_layer(job, part, obj, picture)
    if layer is None:
        return
    material = preview.preview_material(key, layer)
    preview.set_image(material, image)
    preview.cover(obj, key, material)


def preview_layer(job: Job, part: int, obj: bpy.types.Object, picture: Picture | None) -> str | None:
    """Name of the UV map for the preview; None when it needs a new one that cannot be added now."""
    if obj.csd.added_uv in obj.data.uv_layers:
        return obj.csd.added_uv
    uv, uv_is_new = (picture.uv, picture.uv_is_new) if picture is not None else uv_of(job, part)
    if not uv_is_new:
        return job.targets[part].uv_layer
    return preview.add_uv(obj, uv) or None if uv is not None else None


def uv_of(job: Job, part: int):
    sources = scene_import.uv_sources(job.folder)
    new = part < len(sources) and sources[part] == "new"
    target = job.targets[part]
    return (scene_import.corner_uv(job.folder, part, target) if new and target.maps_back else None), new


def refresh_preview() -> None:
    """Cover the mesh again after an undo, a save or a load, and show the finished texture once there is one."""
    job = session.job
    if job is None or not job.on_mesh:
        return
    result = scene_import.read_result(job.folder) if job.phase == "finished" else None
    for part in range(len(job.targets)):
        if result is None:
            if part in shown:
                show_picture(shown[part])
            continue
        key = preview.preview_key(job.id, part)
        image = preview.find_marked(bpy.data.images, key)
        if image is None or image.source != "FILE":
            image = preview.load_final(key, str(result.albedo[part]))
        show_on_mesh(job, part, image)


def accept() -> list[scene_import.Applied]:
    """Make the finished texture an ordinary part of the file.

    Raises:
        SceneError: when there is nothing to accept, or an object is in Edit Mode; the job stays as it is then.
    """
    job = session.job
    if job is None or job.phase != "finished":
        raise SceneError("There is no finished texture.", "Generate one first.")
    objects = [find_object(t) for t in job.targets]
    for obj in objects:
        if obj is not None and obj.mode == "EDIT":
            raise SceneError(f"“{obj.name}” is in Edit Mode.", "Leave Edit Mode first.")
    result = scene_import.read_result(job.folder)
    preview.uncover_all()
    applied = scene_import.apply_result(result, job.targets, objects)
    session.notice = " ".join(a.message for a in applied if a.message)
    session.job = session.problem = None
    close_folder(job)
    return applied


def discard() -> None:
    """Put the old materials back and forget the result; a running job is not touched."""
    job = session.job
    if job is None or job.active:
        return
    forget_pictures()
    preview.uncover_all()
    session.job = session.problem = None
    if job.phase == "finished" or (job.problem is not None and not job.problem.retryable):
        close_folder(job)
    else:
        look_for_unfinished()


def has_checkpoint(job: Job) -> bool:
    return any((job.folder / "checkpoint").glob("*"))


def leave_objects_clean() -> None:
    """Before the extension goes: no preview may stay behind. In a restricted context there is no data to clean."""
    if hasattr(bpy.data, "objects"):
        preview.uncover_all()


def close_folder(job: Job) -> None:
    try:
        (job.folder / CLOSED).touch()
    except OSError:
        pass  # it will only be offered once more
    threading.Thread(target=remove_working_files, args=(job.folder,), daemon=True).start()
    session.unfinished = [entry for entry in session.unfinished if entry[0] != str(job.folder)]


def remove_working_files(folder: Path) -> None:
    """What only a resume or a preview needs, most of a job folder's size; the result stays."""
    for name in ("checkpoint", "preview"):
        shutil.rmtree(folder / name, ignore_errors=True)


def look_for_unfinished() -> None:
    """Fill ``session.unfinished`` with (folder, label), the newest first."""
    found = []
    current = session.job.folder if session.job is not None else None
    folders = sorted(jobs_folder().glob("*/job.json"), reverse=True) if jobs_folder().is_dir() else []
    for file in folders[:200]:
        folder = file.parent
        if folder == current or (folder / CLOSED).exists() or not (folder / "target.json").exists():
            continue
        finished = is_finished(folder)
        found.append((str(folder), f"{label_of(folder)}{' (finished)' if finished else ''}"))
    session.unfinished = found


def is_finished(folder: Path) -> bool:
    """Whether the result is there and whole; a job that was stopped early can still go on."""
    try:
        return bool(scene_import.read_result(folder).record.get("complete", True))
    except SceneError:
        return False


def label_of(folder: Path) -> str:
    stamp = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)", folder.name)
    try:
        prompt = JobFolder.open(folder).spec.prompt
    except (JobError, OSError):
        prompt = folder.name
    return f"{prompt[:40]}, {stamp[1]}-{stamp[2]}-{stamp[3]} {stamp[4]}:{stamp[5]}" if stamp else prompt[:40]
