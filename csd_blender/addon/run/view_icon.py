"""The small picture in the panel."""

from __future__ import annotations

import bpy
import bpy.utils.previews

from ..scene.preview.pictures import Picture

NAME = "view"
collection = None


def show(picture: Picture) -> None:
    """Show a ``view`` picture (bottom row first) as the panel's icon."""
    if collection is None:
        return
    icon = collection.get(NAME) or collection.new(NAME)
    icon.image_size = (picture.width, picture.height)
    icon.image_pixels.foreach_set(picture.pixels)


def icon_id() -> int:
    """For ``layout.template_icon``; 0 while there is no picture."""
    icon = collection.get(NAME) if collection is not None else None
    return icon.icon_id if icon is not None else 0


def register() -> None:
    global collection
    collection = bpy.utils.previews.new()


def unregister() -> None:
    global collection
    if collection is not None:
        bpy.utils.previews.remove(collection)
        collection = None
