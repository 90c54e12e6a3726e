"""The pictures as they grow: one temporary image of all of them, in an Image Editor that shows nothing else."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import bpy

from ....job.process.bodies import TEXTURE, Preview
from ...errors import SceneError
from ...job import Job
from ...scene.images import add, editor
from ...scene.preview import temporary
from ...scene.preview.pictures import Picture


def is_of(job: Job, picture: object) -> bool:
    """Whether ``picture`` can be shown for ``job``; not when it came too late."""
    return isinstance(picture, Picture) and picture.kind == TEXTURE and job.active


def is_seen(job: Job, picture: Picture, shown: Container[int], textures_are_seen: Callable[[], bool]) -> bool:
    """Whether anything on the screen would change."""
    return editor.is_free()


def is_shown_in(space: bpy.types.SpaceView3D) -> bool:
    """Whether a 3D view shows what there is to be seen: nothing of pictures is missing there."""
    return True


def show_in(space: bpy.types.SpaceView3D) -> None:
    """Have a 3D view show them: there is nothing to do."""


def prepare(job: Job, picture: Picture) -> bool:
    """Make the temporary image when there is none of that size; returns whether it had to."""
    return temporary.ensure_image(temporary.preview_key(job.id, 0), picture.width, picture.height)


def show(job: Job, picture: Picture) -> None:
    """Put a preview into the temporary image, and that into an Image Editor which is free."""
    image = temporary.set_pixels(temporary.preview_key(job.id, 0), picture.width, picture.height, picture.pixels)
    editor.show_where_free(image)


def refresh(job: Job, shown: Mapping[int, Picture]) -> Preview | None:
    """Show the newest preview again, or the finished pictures once they are there. Nothing is left to be read."""
    if job.phase != "finished":
        if 0 in shown:
            show(job, shown[0])
        return None
    try:
        path = add.read_result(job.folder).sheet
    except SceneError:
        return None  # accepting it says why
    key = temporary.preview_key(job.id, 0)
    image = temporary.find_marked(bpy.data.images, key)
    if image is None or image.source != "FILE":
        image = temporary.load_final(key, str(path))
    editor.show_where_free(image)
    return None
