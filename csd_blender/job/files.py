"""The names of all files of a job folder, with ``/`` between their parts, as messages and ``result.json`` have them.

What each holds says ``docs/contract.md``. The names on the disk never change: folders of earlier versions must open.
"""

from __future__ import annotations

import re

# ---- the folder itself: what the job was given, and what is noted about it -------------------------------------------

JOB = "job.json"  # the settings; written first, and changed at a resume alone, in what the result does not depend on
INPUT_MESH = "mesh.npz"  # what is to be painted, or to start from: in parts, with their UV maps. Not the finished mesh.
INPUT_COLORS = "start.npz"  # the base color that an edit begins with: pictures, and where each face looks them up
INPUT_PICTURE = "picture"  # of what an object is made after, as the user has it: PNG, JPEG or WebP
TARGETS, TARGET_ARRAYS = "target.json", "target.npz"  # Blender's own: the objects that the result is for
EVENTS = "events.jsonl"  # every message of the job, one JSON object a line
LOCK = "running.lock"  # held by the process that works in the folder
LOG = "backend.log"
ANSWER = "closed"  # Blender's own: how the artist answered

# ---- its folders -----------------------------------------------------------------------------------------------------

PREVIEW, CHECKPOINT, STAGES, RESULT = "preview", "checkpoint", "stages", "result"
SUBFOLDERS = (PREVIEW, CHECKPOINT, RESULT)  # which every job has from its start
FOLDERS = (*SUBFOLDERS, STAGES)  # all that it may have
#: All its files beside those, and what the names of those end with.
OWN = (JOB, INPUT_MESH, INPUT_COLORS, INPUT_PICTURE, TARGETS, TARGET_ARRAYS, EVENTS, LOCK, LOG, ANSWER)
ENDINGS = (".json", ".safetensors", ".png", ".gif", ".npz", ".glb", ".rgba")
#: All that a job of the command line leaves before its first step.
BEGUN = (JOB, INPUT_MESH, INPUT_COLORS, INPUT_PICTURE, EVENTS, LOCK, LOG, STAGES, *SUBFOLDERS)

PREVIEW_VIEW = f"{PREVIEW}/view.rgba"  # a small picture; it stays, for the day when the result is shown again
PREVIEW_MESH = f"{PREVIEW}/mesh.npz"  # an object as it is now: positions, triangles, colors of the vertices

COARSE_SHAPE = f"{STAGES}/coarse.safetensors"  # the shape that the first of an object's two stages found
COARSE_PICTURE = f"{STAGES}/coarse.png"
CONTROL_PICTURE = f"{STAGES}/control.png"  # what ControlNets see of one step's pictures
MODEL_RECORD = f"{STAGES}/models.json"  # sums of the models that the job began with
CONTROL_RECORD = f"{STAGES}/control.json"  # which ControlNets those are, for the day when the job is resumed

RESULT_RECORD = f"{RESULT}/result.json"
RESULT_ARRAYS = f"{RESULT}/mesh.npz"  # a finished object: positions, triangles, UVs. Not what a job was given.
RESULT_GLB = f"{RESULT}/mesh.glb"  # the textured mesh for other programs
RESULT_UV = f"{RESULT}/uv.npz"  # the UV maps that the textures are for, and whose they are
RESULT_TURNTABLE = f"{RESULT}/turntable.png"
RESULT_FILM = f"{RESULT}/turntable.gif"
RESULT_SHEET = f"{RESULT}/sheet.png"  # all pictures of a job that makes some
RESULT_RUN = f"{RESULT}/film.gif"  # how they came about

_CHECKPOINT = re.compile(r"step_(\d{6,9})")


def preview_texture(part: int) -> str:
    """A part's texture so far, raw RGBA, the bottom row first."""
    return f"{PREVIEW}/texture_{part}.rgba"


def map_file(name: str, part: int, parts: int) -> str:
    """The picture of one map of one part: ``result/albedo.png``, numbered where a job has several parts."""
    return f"{RESULT}/{name}.png" if parts == 1 else f"{RESULT}/{name}_{part}.png"


def map_role(name: str, part: int, parts: int) -> str:
    """What :func:`map_file` is called in the tables of files of a job's last message."""
    return name if parts == 1 else f"{name}_{part}"


def picture_file(number: int, method: str = "") -> str:
    """The ``number``-th picture, from 1; ``method``: by which, where a job makes the same ones by several."""
    return f"{RESULT}/picture_{method}_{number:02d}.png" if method else f"{RESULT}/picture_{number:02d}.png"


def film_frame(step: int) -> str:
    """All pictures after ``step`` steps, a frame of the film."""
    return f"{STAGES}/film_{step:06d}.png"


def checkpoint_files(step: int) -> tuple[str, str]:
    """Record and tensors of the checkpoint after ``step`` steps; it is whole once its record is there."""
    name = f"{CHECKPOINT}/step_{step:06d}"
    return f"{name}.json", f"{name}.safetensors"


def checkpoint_step(stem: str) -> int | None:
    """The number of steps in a checkpoint's name without folder and ending; None for other names."""
    match = _CHECKPOINT.fullmatch(stem)
    return int(match[1]) if match else None
