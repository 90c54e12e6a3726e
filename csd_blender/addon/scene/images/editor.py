"""Pictures in an Image Editor. One that shows something of the artist's is left alone while a job runs."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from ..checks import PREVIEW


def spaces() -> Iterator[bpy.types.SpaceImageEditor]:
    """Every Image or UV Editor that is on a screen; those that may change what they show (not pinned)."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR" and not area.spaces.active.use_image_pin:
                yield area.spaces.active


def free_space() -> bpy.types.SpaceImageEditor | None:
    """An editor that shows nothing, or one of our previews."""
    return next((space for space in spaces() if space.image is None or PREVIEW in space.image), None)


def is_free() -> bool:
    """Whether there is such an editor."""
    return free_space() is not None


def show_where_free(image: bpy.types.Image) -> None:
    """Show ``image`` in an editor that shows nothing, or one of our previews; in none when there is none."""
    space = free_space()
    if space is not None and space.image != image:
        space.image = image


def show(image: bpy.types.Image) -> bool:
    """Show ``image`` in an editor, a free one or else the first. Returns whether there is one.

    What was shown there stays in the file: if nothing else used it, it gets a fake user.
    """
    space = free_space() or next(spaces(), None)
    if space is None:
        return False
    before = space.image
    if before is not None and PREVIEW not in before and before.source != "VIEWER" and is_shown_only(before):
        before.use_fake_user = True
    space.image = image
    return True


def is_shown_only(image: bpy.types.Image) -> bool:
    """Whether nothing but what is on the screen uses ``image``, which would then not be saved."""
    users = bpy.data.user_map(subset={image})[image]
    return image.is_editable and all(isinstance(user, (bpy.types.Screen, bpy.types.WindowManager)) for user in users)
