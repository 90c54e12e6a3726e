"""``csd models convert``: a checkpoint that was published as a pickle, written again as safetensors.

A pickle may hold a program, so that no job ever opens one. Here torch's restricted reader does, on somebody's word: it
makes tensors and plain values, and refuses whatever else a file asks for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...job.errors import JobError, writing_failed
from ...job.models.contents import Header, counts, read_header, read_json, unreadable
from ...job.models.files import PICKLES
from ...job.models.single_file import is_single_file

PARTS = ("model.", "model-", "diffusion_pytorch_model")  # how weights are called that jobs look for in a folder
PIECE = re.compile(r"-\d{5}-of-\d{5}$")
INSIDE = ("state_dict", "model", "module")  # where trainers put the weights, beside their own values
SAFE = "Get it as safetensors, or from another source."
AGAIN = "Free some space, then convert it again, or elsewhere by --out."
USUAL = "Choose the model's usual checkpoint."


def convert_model(arguments: argparse.Namespace) -> int:
    """Write FILE's tensors beside it, or as ``--out`` says. Returns the exit status.

    Raises ``JobError`` for what is no pickle of tensors, is there already, or cannot be written.
    """
    source: Path = arguments.file
    check_source(source)
    target: Path = arguments.out or usual_target(source)
    if target.suffix.lower() != ".safetensors":
        raise JobError("bad_setting", f"{target} does not end with .safetensors")
    refuse_present(target)
    pieces = list_of(source) if is_part(source) and arguments.out is None else None
    header = write_tensors(read_tensors(source), target, source)
    print(target)
    if pieces is not None:
        print(write_list(*pieces))
    if not (is_part(source) and target.name.startswith(PARTS)) and not is_single_file(header):
        print("Note: these are not the weights of a whole model, so that no job takes them for one.")
    return 0


def is_part(source: Path) -> bool:
    """Whether it lies where a part of a model's folder does."""
    return (source.parent / "config.json").is_file()


def list_of(source: Path) -> tuple[Path, str] | None:
    """Of one of several pieces whose list is there: the file and the text of the new one's list, unless that is there
    already. Raises ``JobError('model_unreadable')`` for a damaged one."""
    stem = PIECE.sub("", source.stem)
    old = source.with_name(f"{stem}{source.suffix}.index.json")
    new = source.with_name(usual_name(stem, source) + ".safetensors.index.json")
    if stem == source.stem or not old.is_file() or os.path.lexists(new):
        return None
    pieces = read_json(old).get("weight_map")
    if not isinstance(pieces, dict) or not all(isinstance(name, str) for name in pieces.values()):
        raise unreadable(f"{old} is damaged", "Get the model again.")
    renamed = {key: usual_name(Path(name).stem, source) + ".safetensors" for key, name in pieces.items()}
    return new, json.dumps({"metadata": {}, "weight_map": renamed}, indent=2)


def write_list(file: Path, text: str) -> Path:
    """Raises ``JobError`` as :func:`write_tensors`."""
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise _not_written(error, file) from None
    return file


def usual_name(stem: str, source: Path) -> str:
    return re.sub(r"^pytorch_model\b", "model", stem) if is_part(source) else stem


def usual_target(source: Path) -> Path:
    """Beside the pickle, by the name that jobs look for: that of a text encoder's safetensors is another one."""
    return source.with_name(usual_name(source.stem, source) + ".safetensors")


def check_source(source: Path) -> None:
    """Raise ``JobError('model_unreadable')`` for what has no checkpoint's name, or is no file."""
    fix = "Choose the checkpoint, as FILE.pt or FILE.ckpt."
    if not source.is_file():
        raise unreadable(f"{source} is no file", fix)
    if source.suffix.lower() not in PICKLES:
        raise unreadable(f"{source} is none of {', '.join(PICKLES)}", fix)


def refuse_present(target: Path) -> None:
    """Raise ``JobError('no_permission')`` where something would be overwritten."""
    if os.path.lexists(target):
        raise JobError("no_permission", f"{target} is there already", "Delete it, or write another by --out.")


def read_tensors(source: Path) -> dict[str, Any]:
    """The file's named tensors, of each training's copies the one that was trained.

    Raises:
        JobError: ``model_unreadable`` for a file that is damaged, may not be read, or holds more than values; ``oom``.
    """
    import torch

    from ..optimize.out_of_memory import is_out_of_memory

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for those who wrote the file
            with contextlib.suppress(RuntimeError, ValueError):  # files of torch's first layout cannot be mapped
                return _named(torch.load(source, map_location="cpu", weights_only=True, mmap=True), source)
            return _named(torch.load(source, map_location="cpu", weights_only=True), source)
    except pickle.UnpicklingError as error:
        # torch's own words go on with how to open it all the same.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f", such as {asked[1]}" if asked else ""
        raise unreadable(f"{source} is damaged, or holds more than tensors and plain values{what}", SAFE) from None
    except PermissionError as error:
        raise unreadable(f"{source} cannot be read ({error.strerror})", "Change its permissions.") from None
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError, OSError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _no_memory(source) from None
        raise unreadable(f"{source} is damaged ({str(error).partition(chr(10))[0][:200]})", SAFE) from None


def _no_memory(source: Path) -> JobError:
    return JobError("oom", f"the weights of {source} do not fit into memory", "Close other programs.")


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


def write_tensors(tensors: Mapping[str, Any], target: Path, source: Path) -> Header:
    """All of them in a new file, whole or not at all. Returns its header.

    Raises:
        JobError: ``no_space``, ``no_permission``, ``oom``; ``model_unreadable`` for what no job would read.
    """
    from safetensors.torch import save_file

    from ..optimize.out_of_memory import is_out_of_memory

    part = target.with_name(target.name + ".part")
    refuse_present(part)
    try:
        save_file(_whole(tensors, source), part)
        header = read_header(part)
        os.replace(part, target)
        return header
    except JobError:
        raise
    except OSError as error:
        raise _not_written(error, target) from None
    except Exception as error:  # safetensors' own, which says what the system said
        if is_out_of_memory(error):
            raise _no_memory(source) from None
        number = re.search(r"os error (\d+)", str(error))
        if number is not None and os.name != "nt":  # Windows has numbers of its own
            raise _not_written(OSError(int(number[1]), os.strerror(int(number[1]))), target) from None
        raise JobError("no_space" if "space" in str(error).lower() else "no_permission", f"{target}: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _not_written(error: OSError, target: Path) -> JobError:
    """As of a job's files, but for what to do: there is no job to go on with."""
    known = writing_failed(error, target)
    return JobError(known.code, known.detail, AGAIN if known.code == "no_space" else "")


def _whole(tensors: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Copies, since two names may share their numbers in a pickle, and must not in the new file."""
    import torch

    for key, value in tensors.items():
        if key == "__metadata__" or key != key.encode("utf-8", "replace").decode():
            raise unreadable(f"{source} has a tensor by the name of {key!a}, which safetensors cannot have", USUAL)
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "no numbers" if value.is_meta else str(value.dtype if value.is_quantized else value.layout)
            raise unreadable(f"{source} holds {kind.removeprefix('torch.')} in {key}", USUAL)
        if not (value.is_floating_point() or counts(key)):
            kind = str(value.dtype).removeprefix("torch.")
            raise unreadable(f"{source} holds {kind} in {key} and no fractions", USUAL)
    return {key: value.detach().clone().contiguous() for key, value in tensors.items()}
