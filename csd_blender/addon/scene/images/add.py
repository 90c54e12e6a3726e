"""From a picture job's result folder to images of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy

from ....job.files import RESULT_SHEET
from ....job.result import result_file
from ...errors import SceneError
from .. import apply_texture
from ..apply_texture import Applied, short_name, unreadable
from ..stored_arrays import UNREADABLE
from . import editor


@dataclass
class Pictures:
    """What a job left.

    Attributes:
        result: its record and the picture's files, as of textures. sheet: all of them on one picture.
    """

    result: apply_texture.Result
    sheet: Path


def read_result(folder: Path) -> Pictures:
    """Raises :class:`SceneError` when the result is not complete."""
    try:
        return Pictures(apply_texture.read_result(folder), result_file(folder, RESULT_SHEET))
    except UNREADABLE as error:
        raise unreadable(folder, "pictures", "them") from error
    except SceneError as error:
        raise unreadable(folder, "pictures", "them") from error


def add_pictures(found: Pictures) -> list[Applied]:
    """Every picture as an image packed into the file, which stays in it though nothing uses it; the sheet too where
    there are several. One of them, the sheet or the only picture, is shown in an Image Editor, if there is one.

    Returns the pictures in their order, without the sheet. Raises :class:`SceneError`; nothing was added then.
    """
    record = found.result.record
    title = short_name(record.prompt or "CSD Picture")
    parts = record.parts
    names = [short_name(f"{title} {part.name}") for part in parts] if len(parts) > 1 else [title]
    images = apply_texture.load_images(found.result, names)
    shown = images[0]
    if len(images) > 1:
        try:
            shown = apply_texture.load_albedo(found.sheet, title, record)
        except SceneError:
            for image in images:
                bpy.data.images.remove(image)
            raise unreadable(found.result.folder, "pictures", "them") from None
    for image in (*images, shown):
        image.use_fake_user = True
    editor.show(shown)
    return [Applied(None, image, None) for image in images]
