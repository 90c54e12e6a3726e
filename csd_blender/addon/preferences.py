"""The extension's preferences, and the folders that follow from them."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from .. import __package__ as base_package


def forget_backend(_self, _context) -> None:
    from . import backend, jobs
    from .session import Problem, session

    job = session.active_job()
    backend.stop()
    if job is not None:
        problem = Problem("The backend was stopped because a preference changed.", "Resume the job.", True)
        jobs.end_without_result(job, "failed", problem)
    backend.look_for_python()
    jobs.look_for_unfinished()


class CSDPreferences(bpy.types.AddonPreferences):
    """Where things are kept and what the backend may use."""

    bl_idname = base_package

    data_folder: StringProperty(
        name="Data Folder",
        description="Folder for the backend, the models and the jobs; several gigabytes. Empty for Blender's own place",
        subtype="DIR_PATH",
        update=forget_backend,
    )
    backend_python: StringProperty(
        name="Backend Python",
        description="Use this Python, which must have the backend's packages, in place of the one that Set Up makes",
        subtype="FILE_PATH",
        update=forget_backend,
    )
    wheel_folder: StringProperty(
        name="Wheel Folder",
        description="Set up from the package files (wheels) in this folder, without any network access",
        subtype="DIR_PATH",
    )
    device: EnumProperty(
        name="Device",
        description="What computes the texture",
        items=[
            ("auto", "Automatic", "The graphics card when it can be used, else the processor"),
            ("cpu", "Processor", "Works everywhere, slowly"),
            ("cuda", "NVIDIA Graphics Card", "Needs a CUDA capable card"),
            ("mps", "Apple Graphics", "Needs an Apple computer with Metal"),
        ],
    )
    allow_noncommercial: BoolProperty(
        name="Allow Non-Commercial Components",
        description="Also use parts whose licence does not permit commercial work, such as nvdiffrast",
    )

    def draw(self, _context) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = layout.column()
        column.prop(self, "data_folder")
        column.prop(self, "device")
        column.prop(self, "allow_noncommercial")
        column = layout.column(heading="Set Up")
        column.prop(self, "wheel_folder")
        column.prop(self, "backend_python")
        column.operator("csd.setup")


def preferences() -> bpy.types.AddonPreferences | None:
    """None while the package is used without being switched on as an extension."""
    addon = bpy.context.preferences.addons.get(base_package)
    return addon.preferences if addon else None


def preference(name: str, default=""):
    return getattr(preferences(), name, default)


def data_folder() -> Path:
    """Everything the extension writes lies below this folder."""
    chosen = preference("data_folder")
    if chosen:
        return Path(bpy.path.abspath(chosen))
    return Path(bpy.utils.extension_path_user(base_package, create=True))


def jobs_folder() -> Path:
    return data_folder() / "jobs"


def environments_folder() -> Path:
    return data_folder() / "environments"


def log_path() -> Path:
    return data_folder() / "backend.log"


def register() -> None:
    bpy.utils.register_class(CSDPreferences)


def unregister() -> None:
    bpy.utils.unregister_class(CSDPreferences)
