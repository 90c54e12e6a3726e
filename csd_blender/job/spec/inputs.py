"""What people choose about a job's input: it decides what is put into the job's folder, and is no part of the spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .fields import Option, choice, switch, text

MODIFIER_OPTIONS = (
    Option("keep", "Keep", "Texture the shape as it is seen, modifiers stay"),
    Option(
        "apply",
        "Apply",
        "Texture the shape as it is seen; accepting applies modifiers that change the faces",
    ),
    Option("ignore", "Ignore", "Texture the mesh as it is without its modifiers"),
)


@dataclass(frozen=True)
class MeshInput:
    """Meshes out of the scene.

    ``needs_mesh``, which every input says: whether the job cannot begin without one. ``needs_colors``, which those of
    meshes say: whether the mesh must have colors already.
    """

    needs_mesh: ClassVar[bool] = True
    needs_colors: ClassVar[bool] = False

    modifiers: str = choice(
        MODIFIER_OPTIONS, "keep", label="Modifiers", help="What happens to the object's modifiers", place="output"
    )


@dataclass(frozen=True)
class ColoredMeshInput(MeshInput):
    """Meshes that have a base color."""

    needs_colors: ClassVar[bool] = True


@dataclass(frozen=True)
class NoInput:
    """Nothing but the settings."""

    needs_mesh: ClassVar[bool] = False


@dataclass(frozen=True)
class ObjectInput:
    """What a new object begins with."""

    needs_mesh: ClassVar[bool] = False

    modifiers: str = choice(
        MODIFIER_OPTIONS, "keep", label="Modifiers", help="What happens to the object's modifiers", place="hidden"
    )
    start_from_mesh: bool = switch(
        False, place="hidden", label="Start From Selected Mesh",
        help="Begin with the shape of the selected meshes in place of an empty scene",
    )  # fmt: skip
    picture: str = text(
        label="Picture", path="file", unset="none",
        help="Picture of the thing on a transparent or plain background, for a Zero-1-to-3 that draws its other sides",
    )  # fmt: skip
    refine_from: str = text(
        label="Refine From", place="hidden", path=True,
        help="Folder of an earlier object's job, whose coarse shape is refined anew with these settings",
    )  # fmt: skip
