"""The extension's preferences, and the folders that follow from them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from ..job.files import LOG
from .properties import CONTEXT

base_package = __package__.rpartition(".")[0]  # as Blender names the extension

#: Called when a preference about the backend changed; ``addon/__init__.py`` adds what must follow.
on_backend_change: list[Callable[[], None]] = []

#: Further parts of the preferences, drawn into a layout; ``addon/__init__.py`` adds those of higher layers.
sections: list[Callable[[Any, Any], None]] = []


def backend_changed(_self, _context) -> None:
    for listener in on_backend_change:
        listener()


def whole(path: str) -> str:
    """A path as it was typed, from the root on: ``~`` is the home folder, and what is left out is where Blender runs.

    Empty for blanks. Without this, results would lie in another place whenever Blender is started from another one.
    """
    path = path.strip()
    return os.path.abspath(os.path.expanduser(bpy.path.abspath(path))) if path else ""


def whole_program(path: str) -> str:
    """The same for a program: one that is named alone, as in a shell, is looked for where shells look."""
    name = path.strip()
    there = os.path.dirname(name) or name.startswith("~") or os.path.isfile(whole(name))
    return whole(name if there else shutil.which(name) or name)  # where PATH has "bin", it is found as bin/python3


#: Preferences that name a program.
PROGRAMS = ("backend_python",)


def meant(name: str, path: str) -> str:
    """The whole path that stands in the preference ``name``."""
    return whole_program(path) if name in PROGRAMS else whole(path)


def path_typed(name: str, then: Callable[[Any, Any], None] | None = None) -> Callable[[Any, Any], None]:
    """What happens when the path ``name`` changes: the field shows which place that is, then ``then``."""

    def update(chosen, context) -> None:
        if meant(name, getattr(chosen, name)) != getattr(chosen, name):
            setattr(chosen, name, meant(name, getattr(chosen, name)))  # which comes here again
        elif then is not None:
            then(chosen, context)

    return update


class CSDPreferences(bpy.types.AddonPreferences):
    """Where things are kept and what the backend may use."""

    bl_idname = base_package

    data_folder: StringProperty(
        translation_context=CONTEXT,
        name="Data Folder",
        description="Folder for the backend, the models and the jobs; several gigabytes. Empty for Blender's own place",
        subtype="DIR_PATH",
        update=path_typed("data_folder", backend_changed),
    )
    backend_python: StringProperty(
        translation_context=CONTEXT,
        name="Backend Python",
        description="Use this Python, which must have the backend's packages, in place of the one that Set Up makes",
        subtype="FILE_PATH",
        update=path_typed("backend_python", backend_changed),
    )
    wheel_folder: StringProperty(
        translation_context=CONTEXT,
        name="Offline Packages",
        description="For a computer without network: set up from the package files (.whl) in this folder, such as one "
        "filled on another computer",
        subtype="DIR_PATH",
        update=path_typed("wheel_folder"),
    )
    device: EnumProperty(
        translation_context=CONTEXT,
        name="Device",
        description="What computes the texture",
        items=[
            ("auto", "Automatic", "The graphics card when it can be used, else the processor"),
            ("cpu", "Processor", "Works everywhere, slowly"),
            ("cuda", "NVIDIA Graphics Card", "Needs a CUDA capable card"),
            ("mps", "Apple Graphics", "Needs an Apple computer with Metal"),
        ],
    )
    preview_interval: FloatProperty(
        name="Preview Every",
        description="Seconds between two pictures of a running job; more keeps a slow display free, 0 shows none until "
        "the end",
        subtype="TIME_ABSOLUTE",
        min=0.0,
        max=600.0,
        soft_max=30.0,
        default=1.5,
        translation_context=CONTEXT,
    )
    models_folder: StringProperty(
        translation_context=CONTEXT,
        name="Models Folder",
        description="Folder for downloaded models; several gigabytes each. Empty for a place in the data folder",
        subtype="DIR_PATH",
        update=path_typed("models_folder", backend_changed),
    )
    commercial_only: BoolProperty(
        translation_context=CONTEXT,
        name="Only Components Cleared for Commercial Use",
        description="Refuse models and parts whose licence does not permit commercial work, such as DeepFloyd IF and "
        "nvdiffrast",
        default=True,
    )

    def draw(self, context) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = layout.column()
        column.prop(self, "data_folder")
        column.prop(self, "device")
        column.prop(self, "preview_interval")
        column.prop(self, "commercial_only")
        column = layout.column(heading="Set Up", translate=False)
        column.prop(self, "wheel_folder")
        column.prop(self, "backend_python")
        column.operator("csd.setup")
        column = layout.column(heading="Models", translate=False)
        column.prop(self, "models_folder")
        for draw_section in sections:
            draw_section(layout, context)


def preferences() -> bpy.types.AddonPreferences | None:
    """None while the package is used without being switched on as an extension."""
    addon = bpy.context.preferences.addons.get(base_package)
    return addon.preferences if addon else None


def preference(name: str, default=""):
    return getattr(preferences(), name, default)


def preferred_path(name: str) -> str:
    """A path of the preferences, whole; empty where none was chosen."""
    return meant(name, preference(name))


def data_folder() -> Path:
    """Everything the extension writes lies below this folder."""
    # Blender's own place is not made here: where that cannot be, Blender would answer with the current folder.
    return Path(preferred_path("data_folder") or bpy.utils.extension_path_user(base_package))


def jobs_folder() -> Path:
    return data_folder() / "jobs"


def environments_folder() -> Path:
    return data_folder() / "environments"


def models_folder() -> Path:
    """Where downloaded models are kept."""
    chosen = preferred_path("models_folder")
    return Path(chosen) if chosen else data_folder() / "models"


def log_path() -> Path:
    return data_folder() / LOG


CLASSES = (CSDPreferences,)
