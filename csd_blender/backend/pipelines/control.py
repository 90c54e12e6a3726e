"""A job's ControlNets: which they are, how strongly they count, and a sheet of what they see."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...job.errors import JobError
from ...job.files import CONTROL_PICTURE, CONTROL_RECORD
from ...job.folder import JobFolder
from ...job.models.control import OFF, ControlFiles, chosen_controls, wanted_kinds
from ...job.models.families import sees_cameras
from ...job.models.files import read_json
from ...job.spec.schedule import Schedule
from ...job.spec.text_to_3d import TextTo3DJob
from ...job.spec.texture import TextureJob
from ..diffusion.additions.load_control import bundled_control, load_controls
from ..diffusion.loading import look_through
from ..diffusion.model import DiffusionModel
from ..render.controls import Layout, control_rows
from ..render.pictures import contact_sheet
from ..support.png import png_bytes
from ..support.reporting import Reporter

MINI = "mini"
PIXELS = 3  # channels of a model on pixels, as DeepFloyd IF, which there are no ControlNets for
SHEET_SIDE = 256  # pixels of one of its pictures


def use_controls(
    job: TextureJob | TextTo3DJob,
    model: DiffusionModel,
    folder: JobFolder,
    reporter: Reporter,
    steps: int,
    resume: bool = False,
) -> Schedule | None:
    """Give the model the ControlNets that the job wants; returns how strongly they count, None without any.

    What ``auto`` found is written down: a job that resumes has the same ones, whatever came onto the disk meanwhile.

    Args:
        steps: of the stage that they are for.

    Raises:
        JobError: ``bad_setting``, ``control_missing`` or ``control_unreadable``.
    """
    if not steps:  # such as a recipe that has no second stage; nothing would go by them
        model.control = None
        return None
    auto = wanted_kinds(job.control) is None
    recorded = read_record(folder) if resume and auto else None
    words, names = recorded or (job.control, job.control_model)
    if recorded and bundled_control(model.name) is not None:
        names = job.control_model  # the model's own is where the program is, which may have moved
    files = find_controls(model.name, model.unet.config, words, names)
    model.control = load_controls(files, model)
    if auto:
        own = record(files, bundled_control(model.name))
        folder.write_bytes(CONTROL_RECORD, json.dumps(own, indent=1).encode())
    if model.control is None:
        return None
    if auto and model.name != MINI:  # which always has its own
        found = " and ".join("+".join(one.kinds) for one in files)
        reporter.warn("control", f"ControlNets that were found keep the work to the shape: {found}.")
    return Schedule(0, job.control_strength, job.control_strength * job.control_end, max(steps - 1, 1))


def find_controls(name: str, config: Any, words: str, names: str) -> tuple[ControlFiles, ...]:
    """The ControlNets for a model of that name, whose network has these settings. Raises ``JobError``."""
    width = config.get("cross_attention_dim")
    other = width is None or sees_cameras(config)  # Stable Diffusion 3's are of another kind, MVDream has none
    if int(config["in_channels"]) == PIXELS or other:
        if wanted_kinds(words):
            raise JobError("bad_setting", f"there are no ControlNets for {name}; set control to off")
        return ()
    return chosen_controls(words, names, width, bundled_control(name))


def check_controls(job: TextTo3DJob) -> None:
    """Raise ``JobError`` when the job wants ControlNets that are not there, before its model is loaded."""
    if job.refine.steps and wanted_kinds(job.control) != {}:
        found = look_through(job.model, job.tells["model"])
        find_controls(job.model, found.network.config, job.control, job.control_model)


def record(files: Sequence[ControlFiles], bundled: Path | None) -> dict[str, str]:
    """The settings that lead to these very ControlNets, on another computer as well: of published ones the repository,
    and of the ``bundled`` one nothing, since it comes with its model."""
    words = ",".join(f"{kind}:{one.weight:g}" for one in files for kind in one.kinds) or OFF
    named = [one for one in files if one.part.folder != bundled]
    return {"control": words, "control_model": ",".join(f"{'+'.join(one.kinds)}={one.name}" for one in named)}


def read_record(folder: JobFolder) -> tuple[str, str] | None:
    """What :func:`record` wrote; None where nothing can be read."""
    path = folder.path / CONTROL_RECORD
    try:
        data = read_json(path)
        return str(data["control"]), str(data["control_model"])
    except (JobError, KeyError):
        return None


def write_sheet(folder: JobFolder, layout: Layout, draw: Callable[[], Tensor]) -> None:
    """``stages/control.png``: what the ControlNets see of one step's pictures, a row for each thing that they follow.

    Args:
        draw: makes those pictures, ``[B, C, S, S]``. They are written once; a job that resumes leaves them.
    """
    if not layout or (folder.path / CONTROL_PICTURE).exists():
        return
    pictures = draw()
    rows = control_rows(layout, pictures)
    larger = max(1, SHEET_SIDE // rows.shape[-1])
    rows = rows.repeat_interleave(larger, 2).repeat_interleave(larger, 3)
    folder.write_bytes(CONTROL_PICTURE, png_bytes(contact_sheet(rows, len(pictures))))
