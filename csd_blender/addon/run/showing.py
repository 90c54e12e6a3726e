"""What is seen of the session's job: its newest previews, and putting them into the scene."""

from __future__ import annotations

from ...job.files import RESULT_ARRAYS
from ...job.process.bodies import MESH, Preview
from ..kinds.object import preview as object_preview
from ..kinds.texture import preview as texture_preview
from ..scene.mesh_arrays import MeshPicture
from ..scene.previews import Picture, PictureMaker
from ..scene.targets import changed_maps
from ..session import Job, session
from . import screen

pictures = PictureMaker()
shown: dict[int, Picture | MeshPicture] = {}  # each part's newest preview, to be shown again after an undo or a save
unseen: set[int] = set()  # parts whose newest preview waits until a 3D view shows textures


def forget_pictures() -> None:
    pictures.clear()
    shown.clear()
    unseen.clear()


def job_for(picture: Picture | MeshPicture) -> Job | None:
    """The job that ``picture`` is of; None when it came too late or is of no use."""
    job = session.job
    if job is None or isinstance(picture, MeshPicture) != job.makes_object:
        return None
    if job.makes_object:
        return job if job.in_scene else None  # the finished object comes as a picture, too
    return job if job.active and picture.part < len(job.targets) else None


def is_seen(job: Job, picture: Picture | MeshPicture) -> bool:
    """Whether anything on the screen would change; the first picture of a part always goes into its place."""
    if job.makes_object:
        return True
    return job.in_file and (picture.part not in shown or screen.textures_are_seen())


def prepare_for(picture: Picture | MeshPicture) -> bool:
    """Do one of the things that only a part's first picture needs; False when nothing is left to do."""
    job = job_for(picture)
    if job is None or not is_seen(job, picture):
        return False
    return (object_preview if job.makes_object else texture_preview).prepare(job, picture)


def show_picture(picture: Picture | MeshPicture) -> bool:
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
    (object_preview if job.makes_object else texture_preview).show(job, picture)
    return True


def show_unseen() -> bool:
    """Put the pictures that were kept on their meshes, once a 3D view shows textures."""
    job = session.job
    if not unseen or job is None or not job.active or not job.in_file or not screen.textures_are_seen():
        return False
    picture = shown.get(unseen.pop())
    if picture is not None:
        texture_preview.show(job, picture)
    return picture is not None


def refresh_preview() -> None:
    """Show the preview again after an undo, a save or a load, and the finished result once there is one."""
    job = session.job
    if job is None or not job.in_scene:
        return
    unseen.clear()
    if not job.makes_object and not job.in_file:
        return
    if not job.makes_object:
        texture_preview.refresh(job, shown)
        job.changed_maps = changed_maps(job) if job.phase == "finished" else []
        return
    picture = shown.get(0)
    if picture is not None:
        object_preview.show(job, picture)
    if job.phase == "finished" and (picture is None or not picture.final):
        pictures.put(Preview(RESULT_ARRAYS, MESH), job.folder, None)
