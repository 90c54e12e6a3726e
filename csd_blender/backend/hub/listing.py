"""What a repository of the hub holds, and which of its files a model needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from huggingface_hub import HfApi, constants

from ...job.errors import JobError
from ...job.models.catalogue import ModelEntry
from ...job.models.contents import CODE
from ...job.models.files import INDEX, LAYERS, PICKLES
from ...job.models.store import is_inside
from .answers import in_words

PATIENCE = 20.0  # seconds that the hub has to answer
#: Folders of a model that jobs read; others hold filters, watermarks and other forms of the same weights.
PARTS = (
    *("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
    *("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"),
)
#: Of a model that is told a picture, beside these.
PICTURE_PARTS = ("image_encoder", *LAYERS)
TEXTS = (".json", ".txt", ".model")  # settings, and the words of tokenizers
WEIGHTS = (".safetensors", *PICKLES, ".msgpack", ".h5", ".onnx")
STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = ("fp16", "")  # in the order they are taken


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: ``sha256`` of what is kept by Git LFS, ``git_sum``, Git's own, of the others."""

    path: str
    size: int
    sha256: str = ""
    git_sum: str = ""


@dataclass(frozen=True)
class Listing:
    """A state of a repository. ``licence``: as its page names it, or empty."""

    source: str
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]


def look_up(source: str, commit: str | None = None) -> Listing:
    """What ``source`` holds, now or at a ``commit``.

    Raises:
        JobError: ``model_gone``, ``model_gated`` or ``download_failed``, in words.
    """
    with in_words(source):
        info = HfApi().model_info(source, revision=commit, files_metadata=True, timeout=PATIENCE)
    if not info.sha:
        raise JobError("download_failed", f"{constants.ENDPOINT} does not answer as the Hugging Face hub does")
    files = [
        RemoteFile(f.rfilename, int(f.lfs.size), f.lfs.sha256)
        if f.lfs is not None
        else RemoteFile(f.rfilename, int(f.size or 0), "", f.blob_id or "")
        for f in info.siblings or ()
        if is_inside(f.rfilename)
    ]
    licence = getattr(info.card_data, "license", None)
    return Listing(source, info.sha, licence if isinstance(licence, str) else "", tuple(files))


def needed(entry: ModelEntry, listing: Listing) -> list[RemoteFile]:
    """The files that the model consists of: safetensors, in half precision where there are such, and small texts.

    Raises:
        JobError: ``model_unreadable`` when there are no such, as in a repository of pickles.
    """
    alone = entry.role != "model"
    if not alone and not any(file.path == INDEX for file in listing.files):
        raise JobError("model_unreadable", f"{listing.source} has no {INDEX} and is no model in the diffusers layout")
    there = {file.path.partition("/")[0] for file in listing.files}
    parts = (*PARTS, *(PICTURE_PARTS if there & set(LAYERS) else ()))
    folders: dict[str, list[RemoteFile]] = {}
    for file in listing.files:
        folder, _, name = file.path.rpartition("/")
        if name.lower().endswith(CODE) or not (folder == "" or (not alone and folder in parts)):
            continue
        folders.setdefault(folder, []).append(file)
    chosen = []
    for folder, files in folders.items():
        if folder == "" and not alone:
            chosen += [file for file in files if file.path == INDEX or file.path.upper().startswith("LICENSE")]
            continue
        chosen += [file for file in files if file.path.endswith(TEXTS) and ".safetensors.index" not in file.path]
        if any(file.path.lower().endswith(WEIGHTS) for file in files):
            chosen += weights_of(listing.source, folder, files)
    return sorted(chosen, key=lambda file: (file.size, file.path))


def weights_of(source: str, folder: str, files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """The weights of one part: one file, or its pieces and their list. Raises ``JobError('model_unreadable')``."""
    names = {file.path.rpartition("/")[2]: file for file in files}
    for variant in VARIANTS:
        dot = f".{variant}" if variant else ""
        for stem in STEMS:
            whole = names.get(f"{stem}{dot}.safetensors")
            if whole is not None:
                return [whole]
            index = names.get(f"{stem}.safetensors.index{dot}.json")
            pieces = [
                f for n, f in names.items() if re.fullmatch(rf"{stem}{re.escape(dot)}-\d+-of-\d+\.safetensors", n)
            ]
            if index is not None and pieces:
                return [*pieces, index]
    place = f"{source}/{folder}".rstrip("/")
    pickle = next((name for name in sorted(names) if name.lower().endswith(PICKLES)), None)
    what = f"{place} has its weights as pickles alone, which are never opened" if pickle else f"{place} has no weights"
    raise JobError("model_unreadable", what, "Choose another model, or convert a copy of it to safetensors.")
