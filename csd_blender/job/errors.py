"""Every way a job can fail, in the words an artist reads."""

from __future__ import annotations

import errno
import reprlib
from dataclasses import dataclass
from pathlib import Path

QUOTED = 80  # characters of a value that an error repeats
LONGEST_DETAIL = 600  # characters; a path may be longer

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = QUOTED
_short.maxlist = _short.maxtuple = _short.maxdict = 8


@dataclass(frozen=True)
class ErrorCode:
    """One kind of failure.

    Attributes:
        text: what is wrong, one sentence.
        fix: what to do, one sentence.
        retryable: whether trying the same again can help.
    """

    text: str
    fix: str
    retryable: bool = False


ERRORS = {
    "bad_setting": ErrorCode("A setting has a value that is not allowed.", "Change it and start again."),
    "bad_job_folder": ErrorCode("The job folder is incomplete or belongs to another job.", "Start the job anew."),
    "folder_not_empty": ErrorCode("The folder already holds something.", "Choose another, or resume the job in it."),
    "mesh_unreadable": ErrorCode("The mesh file cannot be read.", "Export it again as .glb, .obj, .ply or .stl."),
    "mesh_no_faces": ErrorCode(
        "The mesh has no faces with an area.", "Select an object that has faces, and see to its scale."
    ),
    "mesh_too_large": ErrorCode("The mesh has more than 500,000 triangles.", "Reduce it with a Decimate modifier."),
    "mesh_not_finite": ErrorCode(
        "The mesh has coordinates that are not numbers.", "Delete the broken vertices (Mesh > Clean Up)."
    ),
    "mesh_colorless": ErrorCode(
        "The mesh has no colors that could be edited.", "Make it a texture first: csd texture, Generate Texture."
    ),
    "picture_unreadable": ErrorCode(
        "A texture of the mesh cannot be read.", "Save it as PNG or JPEG and export the mesh again."
    ),
    "mesh_unusable": ErrorCode(
        "The mesh cannot be a start for an object.", "Select one that is closed, or start anew."
    ),
    "mesh_open": ErrorCode(
        "The mesh is not closed, so its shape cannot be changed.",
        "Fill its holes (Mesh > Clean Up > Fill Holes, or a Remesh modifier), or leave the shape frozen.",
    ),
    "empty_scene": ErrorCode(
        "Nothing took shape from the prompt.", "Try another seed, more steps or a simpler prompt."
    ),
    "uv_missing": ErrorCode("The mesh has no UV map.", "Unwrap it, or let the job make a new UV map."),
    "uv_overlap": ErrorCode(
        "The UV map cannot carry a texture.", "Unwrap it without overlaps, or let the job make a new UV map."
    ),
    "bad_picture": ErrorCode(
        "The picture cannot be used.",
        "Choose a PNG, JPEG or WebP picture of one thing, on a transparent or plain background.",
    ),
    "model_missing": ErrorCode("The diffusion model is not on this computer.", "Choose another model or its folder."),
    "model_unreadable": ErrorCode(
        "The diffusion model's files cannot be used.",
        "Choose the folder of a whole model with safetensors, or one .safetensors file of it: Stable Diffusion 1, 2, "
        "XL or 3, or DeepFloyd IF.",
    ),
    "model_changed": ErrorCode(
        "A file of the model is not the one that was published.",
        "Get the model again, from another network if it happens again.",
        True,
    ),
    "model_gated": ErrorCode(
        "The publisher gives this model only to those who agreed to its licence.",
        "Agree on the model's page, then log in to Hugging Face on this computer.",
    ),
    "model_gone": ErrorCode(
        "The model is no longer where it was published.", "Choose another one, or the folder of a copy that you have."
    ),
    "download_failed": ErrorCode("The model could not be downloaded.", "Get it again; what came so far is kept.", True),
    "language_model_missing": ErrorCode(
        "The language model for prompt debiasing is not on this computer.",
        "Choose another one or its folder, or leave the field empty.",
    ),
    "language_model_unreadable": ErrorCode(
        "The language model for prompt debiasing cannot be used.",
        "Choose the folder of a masked language model such as BERT with safetensors, or leave the field empty.",
    ),
    "lora_missing": ErrorCode("The LoRA file is not there.", "Choose it again, or leave the field empty."),
    "lora_unreadable": ErrorCode(
        "The LoRA cannot be used.", "Choose one that was made for this model, or leave the field empty."
    ),
    "control_missing": ErrorCode(
        "A ControlNet is not on this computer.", "Choose its folder or download it, or set Control to off."
    ),
    "control_unreadable": ErrorCode(
        "A ControlNet cannot be used.",
        "Choose the folder of a ControlNet with safetensors that belongs to this model, or set Control to off.",
    ),
    "encoder_missing": ErrorCode(
        "The small encoder is not on this computer.", "Choose its folder or download it, or set Encoder to full."
    ),
    "encoder_unreadable": ErrorCode(
        "The small encoder cannot be used.",
        "Choose the folder of an AutoencoderTiny with safetensors that belongs to this model, or set Encoder to full.",
    ),
    "model_not_finite": ErrorCode(
        "The diffusion model answers with invalid numbers.",
        "Choose another model, or set the device to the CPU, where large numbers do not overflow.",
    ),
    "licence_not_accepted": ErrorCode(
        "This part may not be used commercially.", "Allow non-commercial parts, or choose another one."
    ),
    "no_gpu": ErrorCode("The chosen device is not in this computer.", "Set the device to Automatic."),
    "oom": ErrorCode(
        "The device ran out of memory, even at the smallest setting.", "Close other programs, or use a smaller model."
    ),
    "no_space": ErrorCode("The disk is full.", "Free some space, then resume the job.", True),
    "no_permission": ErrorCode("A file or folder cannot be written.", "Choose another folder.", True),
    "worker_died": ErrorCode("The backend ended unexpectedly.", "Resume the job; the log tells more.", True),
    "worker_silent": ErrorCode("The backend no longer answers.", "Resume the job; the log tells more.", True),
    "protocol_mismatch": ErrorCode("The backend is of another version.", "Press Set Up to update it."),
    "backend_missing": ErrorCode("The backend is not installed yet.", "Press Set Up first."),
    "backend_python": ErrorCode(
        "The Backend Python in the preferences cannot be used.",
        "It must be a program that has the backend's packages; correct the path or clear it.",
        True,
    ),
    "setup_failed": ErrorCode("The backend could not be set up.", "Try again; the log tells more.", True),
    "setup_needs": ErrorCode(
        "Set Up needs something that this computer lacks.",
        "Install it, then press Set Up again.",
    ),
    "wheel_changed": ErrorCode(
        "A package is not the one that was published.",
        "It was not installed; get it again, from another network or folder.",
    ),
    "busy": ErrorCode("Another job is still running.", "Wait for it or cancel it.", True),
    "cancelled": ErrorCode("The job was cancelled.", "Start it again or resume it.", True),
    "interrupted": ErrorCode("The job was interrupted.", "Resume it.", True),
    "diverged": ErrorCode("The result dissolved into invalid numbers.", "Lower the learning rate."),
    "internal": ErrorCode("Something went wrong inside the backend.", "Try again; the log tells more.", True),
}


class JobError(Exception):
    """A failure with a code of :data:`ERRORS`.

    ``detail`` names the file, field or value at fault, cut off where it gets too long to be read; ``fix`` says what to
    do in place of the table's sentence, where more is known; ``values`` keeps the figures behind it for programs.

    Raises:
        KeyError: for a code that is not in the table.
    """

    def __init__(self, code: str, detail: str = "", fix: str = "", **values: object):
        self.code = code
        self.entry = ERRORS[code]
        self.detail = detail if len(detail) <= LONGEST_DETAIL else detail[:LONGEST_DETAIL] + "..."
        self.fix = fix or self.entry.fix
        self.values = values
        super().__init__(self.message)

    @property
    def text(self) -> str:
        return self.entry.text

    @property
    def retryable(self) -> bool:
        return self.entry.retryable

    @property
    def message(self) -> str:
        """One line for people: what is wrong, the detail, what to do."""
        what = f"{self.text[:-1]}: {self.detail}." if self.detail else self.text
        return f"{what} {self.fix}"


def quoted(value: object, limit: int = QUOTED) -> str:
    """``repr`` of a value that nobody has checked yet: at most ``limit`` characters, always text that UTF-8 can hold.

    Never raises, whatever the value: Python itself refuses to write out integers of thousands of digits, and lists that
    are nested too deep.
    """
    try:
        if isinstance(value, (str, bytes)):
            said = repr(value[: limit + 1])
        elif isinstance(value, int) and value.bit_length() > 500:
            said = "a whole number of more than 150 digits"
        else:
            said = _short.repr(value)
    except (ValueError, RecursionError):
        said = f"a {type(value).__name__}"
    return said if len(said) <= limit else said[: limit - 3] + "..."


def shortened(text: object, limit: int = QUOTED) -> str:
    """A name that nobody has checked yet, without quotation marks: at most ``limit`` characters of it."""
    if not isinstance(text, str):
        return quoted(text, limit)
    text = text[: limit + 1].encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def writing_failed(error: OSError, path: str | Path) -> JobError:
    """The sentence for what the system says when ``path`` cannot be written: ``no_space`` or ``no_permission``."""
    # EFBIG: a limit on the size of files, of the disk's own kind or set by the administrator.
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
        return JobError("no_space", str(path))
    return JobError("no_permission", f"{path} ({error.strerror})" if error.strerror else str(path))
