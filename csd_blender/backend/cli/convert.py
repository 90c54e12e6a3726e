"""``csd models convert``: a checkpoint that was published as a pickle, written again as safetensors.

A pickle may hold a program, so that no job ever opens one. Here torch's restricted reader does, on somebody's word: it
makes tensors and plain values, and refuses whatever else a file asks for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...job.errors import JobError, writing_failed
from ...job.models.contents import read_header, unreadable
from ...job.models.files import PICKLES
from ...job.models.single_file import is_single_file

INSIDE = ("state_dict", "model", "module")  # where trainers put the weights, beside their own values
SAFE = "Get it as safetensors, or from another source."


def convert_model(arguments: argparse.Namespace) -> int:
    """Write FILE's tensors beside it, or as ``--out`` says. Returns the exit status.

    Raises ``JobError`` for what is no pickle of tensors, is there already, or cannot be written.
    """
    source: Path = arguments.file
    target: Path = arguments.out or source.with_suffix(".safetensors")
    if target.suffix.lower() != ".safetensors":
        raise JobError("bad_setting", f"{target} does not end with .safetensors")
    if os.path.lexists(target):
        raise JobError("no_permission", f"{target} is there already", "Delete it, or write another by --out.")
    tensors = read_tensors(source)
    write_tensors(tensors, target)
    print(target)
    if not is_single_file(read_header(target)):
        print("Note: these are not the weights of a whole model, so that no job takes them for one.")
    return 0


def read_tensors(source: Path) -> dict[str, Any]:
    """The file's named tensors, of each training's copies the one that was trained.

    Raises:
        JobError: ``model_unreadable`` for a file that is missing, damaged, no pickle, or holds more than values.
    """
    import torch

    if not source.is_file():
        raise unreadable(f"{source} is no file", "Choose the checkpoint, as FILE.pt or FILE.ckpt.")
    if source.suffix.lower() not in PICKLES:
        raise unreadable(f"{source} is none of {', '.join(PICKLES)}", "Choose the checkpoint, as FILE.pt or FILE.ckpt.")
    try:
        with contextlib.suppress(RuntimeError, ValueError):  # files of torch's first layout cannot be mapped
            return _named(torch.load(source, map_location="cpu", weights_only=True, mmap=True), source)
        return _named(torch.load(source, map_location="cpu", weights_only=True), source)
    except pickle.UnpicklingError as error:
        what = str(error).partition("\n")[0][:200]
        raise unreadable(f"{source} is damaged, or holds more than tensors and plain values ({what})", SAFE) from None
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, OSError) as error:
        raise unreadable(f"{source} is damaged ({str(error).partition(chr(10))[0][:200]})", SAFE) from None


def _named(found: object, source: Path) -> dict[str, Any]:
    import torch

    for name in INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    values = found.items() if isinstance(found, Mapping) else ()
    tensors = {key: value for key, value in values if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if not tensors:
        raise unreadable(f"{source} holds no named tensors", "Choose the checkpoint of a model.")
    return tensors


def write_tensors(tensors: Mapping[str, Any], target: Path) -> None:
    """All of them in a new file, whole or not at all. Raises ``JobError`` ``no_space`` or ``no_permission``."""
    from safetensors.torch import save_file

    part = target.with_name(target.name + ".part")
    try:
        # Copies, since two names may share their numbers in a pickle, and must not here.
        save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, part)
        os.replace(part, target)
    except OSError as error:
        raise writing_failed(error, target) from None
    except Exception as error:  # safetensors' own, which says what the system said
        raise JobError("no_space" if "space" in str(error).lower() else "no_permission", f"{target}: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
