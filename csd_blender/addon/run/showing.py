"""What is seen of the session's job: its newest previews, and putting them into the scene."""

from __future__ import annotations

from ..job import Job
from ..kinds.choose import kind_of
from ..scene.checks import is_away
from ..scene.preview.pictures import Picture, PictureMaker
from ..scene.stored_arrays import MeshArrays
from ..scene.targets import find_object
from ..session import session
from . import screen
from .belonging import changed_maps

pictures = PictureMaker()
shown: dict[int, Picture | MeshArrays] = {}  # each part's newest preview, to be shown again after an undo or a save
unseen: set[int] = set()  # parts whose newest preview waits until a 3D view shows textures


def forget_pictures() -> None:
    pictures.clear()
    shown.clear()
    unseen.clear()


def job_for(picture: Picture | MeshArrays) -> Job | None:
    """The job that ``picture`` is of; None when it came too late or is of no use."""
    job = session.job
    return job if job is not None and kind_of(job).preview.is_of(job, picture) else None


def is_seen(job: Job, picture: Picture | MeshArrays) -> bool:
    """Whether anything on the screen would change."""
    return kind_of(job).preview.is_seen(job, picture, shown, screen.textures_are_seen)


def prepare_for(picture: Picture | MeshArrays) -> bool:
    """Do one of the things that only a part's first picture needs; False when nothing is left to do."""
    job = job_for(picture)
    if job is None or not is_seen(job, picture):
        return False
    return kind_of(job).preview.prepare(job, picture)


def show_picture(picture: Picture | MeshArrays) -> bool:
    """Put a preview into the scene: a texture on its mesh, or the object that is being made.

    A texture that no 3D view shows is only kept, since every change of an image has all views drawn again. Returns
    whether the scene changed.
    """
    job = job_for(picture)
    if job is None:
        return False
    seen = is_seen(job, picture)
    shown[picture.part] = picture
    if not seen:
        unseen.add(picture.part)
        return False
    unseen.discard(picture.part)
    kind_of(job).preview.show(job, picture)
    return True


def show_unseen() -> bool:
    """Put the pictures that were kept on their meshes, once a 3D view shows textures."""
    job = session.job
    if not unseen or job is None or not job.active or not job.in_file or not screen.textures_are_seen():
        return False
    picture = shown.get(unseen.pop())
    if picture is not None:
        kind_of(job).preview.show(job, picture)
    return picture is not None


def waits_for_mode(job: Job) -> bool:
    """Whether an object of the job is in a mode that has its mesh to itself, as Edit Mode has."""
    objects = (find_object(target) for target in job.targets) if kind_of(job).job.BELONGS_TO_FILE else ()
    return any(obj is not None and is_away(obj.data) for obj in objects)


def refresh_preview() -> None:
    """Show the preview again after an undo, a save or a load, and the finished result once there is one."""
    job = session.job
    if job is None or not job.in_scene:
        return
    unseen.clear()
    kind = kind_of(job)
    if kind.job.BELONGS_TO_FILE and not job.in_file:
        return
    waiting = kind.preview.refresh(job, shown)
    if waiting is not None:
        pictures.put(waiting, job.folder, None)
    if job.phase == "finished" and waits_for_mode(job):
        job.final_shown, job.changed_maps = False, []  # the timer shows it once the artist has left that
        return
    job.changed_maps = changed_maps(job) if job.phase == "finished" and kind.job.BELONGS_TO_FILE else []
