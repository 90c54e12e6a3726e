"""Where a model lies on this computer: from the name or path that somebody wrote to the folder with its parts.

Nothing is downloaded. Besides folders in the diffusers layout this knows the models that were got through this program,
the cache of the Hugging Face hub, whole repositories of that cache, and the folder above or below the right one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import JobError, shortened
from ..ordinary import read_ordinary
from .catalogue import ModelEntry, entry_of, find_entry
from .contents import read_header, read_json, readable, unreadable
from .files import INDEX, PICKLES, WANTED, WHOLE, Part, read_model, read_network
from .single_file import is_single_file
from .store import RECORD, read_record, whole_copy

LAYOUT = "Choose the same model as a folder in the diffusers layout, or as one whole .safetensors file."
GET = "Get it in the panel's Models, or by “csd models get {name}”."
_BUNDLED = Path(__file__).parents[2] / "backend" / "mini"
#: The bundled model's network for several views at once, and its networks that are told a picture, where this version
#: has them; the rest is the model's own.
BUNDLED_VIEWS, BUNDLED_PICTURE = _BUNDLED / "views" / "unet", _BUNDLED / "picture"
NAME_LIMIT = 4096  # bytes of a file in the hub's cache that names a state


def find_folder(name: str, read: Callable[[Path], object] = read_model) -> Path:
    """Folder with a ``model_index.json``, or single file, of a catalogue id, a repository of the hub, or a path.

    The first two are looked for among the models that were got through this program, then in the hub's cache.
    ``read``: as in :func:`in_cache`.

    Raises:
        JobError: ``model_missing`` when there is nothing of that name, ``model_unreadable`` when there is something
            else in its place; the sentence says what, and what to choose.
    """
    place = existing(name)
    if place is not None:
        return _folder_at(place, read)
    entry = entry_of(name)
    if entry is None:
        return in_cache(name, (), read)
    own = whole_copy(entry.id)
    if own is not None:
        return own
    return in_cache(name, entry.sources if name == entry.id else (name,), read)


@readable()
def in_cache(name: str, sources: Sequence[str], read: Callable[[Path], object]) -> Path:
    """Folder of the first of some repositories that is whole in the hub's cache.

    Args:
        name: that somebody wrote. read: looks through a folder and raises ``JobError`` when something is amiss.

    Raises:
        JobError: what ``read`` did about the first one that is there, else ``model_missing``.
    """
    problems = []
    for source in sources:
        repository = hub_cache() / ("models--" + source.replace("/", "--"))
        if not repository.is_dir():
            continue
        try:
            return snapshot(repository, read)
        except JobError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    entry = find_entry(name)
    fix = GET.format(name=entry.id) if entry is not None and entry.can_be_used else ""
    raise JobError("model_missing", f"there is no model or folder “{shortened(name)}”", fix)


def lasting_name(name: str, told: str = "prompt") -> str:
    """The name that leads to the same model from every folder: the whole path of a model's folder, any other as it is.

    ``told``: as for :func:`~csd_blender.job.models.files.read_model`.

    Raises:
        JobError: for a model that a job could not load: as :func:`find_folder` and
            :func:`~csd_blender.job.models.files.read_model` do. The bundled one is not looked at, but ``bad_setting``
            where it is told what it cannot draw after.
    """
    if name == "mini":
        check_bundled(told)
        return name
    read = partial(read_model, told=told)
    read(find_folder(name, read))
    place = existing(name)
    return name if place is None else str(place)


def check_bundled(told: str) -> None:
    """Raise ``JobError('bad_setting')`` where the bundled model is to draw several views, or after a picture, and its
    networks for that are not there."""
    if told == "views" and not (BUNDLED_VIEWS / "config.json").is_file():
        raise JobError("bad_setting", "the bundled model draws one view at a time", WANTED["views"])
    parts = ("unet", "image_encoder", "cc_projection")
    if told == "picture" and not all((BUNDLED_PICTURE / part / "config.json").is_file() for part in parts):
        raise JobError("bad_setting", "the bundled model is told a prompt and no picture", WANTED["picture"])


def check_bundled_of(job: Any) -> None:
    """The same for all models of a job. Others are not looked at, which takes its time."""
    for name, told in getattr(job, "models", ()):
        if name == "mini":
            check_bundled(told)


def find_copy(entry: ModelEntry, root: Path | None = None) -> Path:
    """Folder of an entry of the catalogue, or of any repository, that has been looked through.

    ``root``: the folder of models, where that is not the environment's.

    Raises:
        JobError: ``model_missing`` when it is not on this computer, ``model_unreadable`` for what is amiss.
    """
    read = read_any_model if entry.role == "model" else read_addition
    own = whole_copy(entry.id, root)
    if own is None:
        return in_cache(entry.id, entry.sources, read)
    read(own)
    return own


@readable()
def folder_of(place: Path, read: Callable[[Path], object]) -> Path:
    """Folder of a network that somebody named by a path: itself, a file in it, or a repository of the hub's cache.

    ``read`` looks through it and raises ``JobError`` when something is amiss.
    """
    if place.name == "snapshots" or (place / "snapshots").is_dir():
        return snapshot(place.parent if place.name == "snapshots" else place, read)
    # A file that no network lies around is refused itself, and not the folder that it happens to be in.
    folder = place.parent if place.is_file() and (place.parent / "config.json").exists() else place
    read(folder)
    return folder


@readable()
def read_network_alone(folder: Path, class_name: str, what: str, other: str, mismatch: str) -> Part:
    """A folder of one network as diffusers saves it, of that class.

    Args:
        what: it is to be, for people. other: what to choose else. mismatch: the sentence for another class, with
            ``{folder}`` and ``{named}``.

    Raises:
        JobError: ``model_unreadable`` for the first thing that is missing, damaged or another.
    """
    if (folder / INDEX).exists():
        raise unreadable(f"{folder} is a whole diffusion model and no {what}", other)
    if not (folder / "config.json").exists():
        raise unreadable(f"{folder} has no config.json and is no {what} in the diffusers layout", other)
    named = str(read_json(folder / "config.json").get("_class_name", "network without a name"))
    if named != class_name:
        raise unreadable(mismatch.format(folder=folder, named=shortened(named)), other)
    return read_network(folder, named, "diffusion_pytorch_model")


def read_any_model(folder: Path) -> None:
    """Look through a model's folder, whatever it has to be told. Raises ``JobError`` as
    :func:`~csd_blender.job.models.files.read_model` does for one that is told a prompt."""
    try:
        read_model(folder)
    except JobError:
        for told in ("picture", "views"):
            with suppress(JobError):
                read_model(folder, told)
                return
        raise


def read_addition(folder: Path) -> None:
    """Look through a ControlNet or a small encoder, one network in a folder of its own. Raises ``JobError`` as
    :func:`~csd_blender.job.models.files.read_model` does, but not for scripts: published ones bring some, never run."""
    read_network(folder, "", "diffusion_pytorch_model")


def state_of(entry: ModelEntry) -> str:
    """``ready``, ``not on this computer``, or what is wrong with the copy that is there."""
    if not entry.sources:
        return "ready"
    try:
        find_copy(entry)
    except JobError as error:
        return "not on this computer" if error.code == "model_missing" else f"not ready: {error.detail}"
    return "ready"


def hub_cache() -> Path:
    """Where the Hugging Face libraries keep what they downloaded."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(variable):
            return Path(os.path.expanduser(os.path.expandvars(os.environ[variable]))) / below
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.path.expanduser(home)) / "huggingface" / "hub"


def existing(name: str) -> Path | None:
    """The file or folder of that path; None when there is none. A folder that is called as something of the catalogue
    counts where it holds what a model consists of; else the catalogue's is meant."""
    try:
        place = Path(os.path.expanduser(name))  # (where there is no such user, it stays as it is)
        if not place.exists() or (find_entry(name) is not None and place.is_dir() and not _holds_model(place)):
            return None
        return place.absolute()
    except (OSError, ValueError):  # too long, a null character
        return None


def _holds_model(folder: Path) -> bool:
    """Whether there are a model's files in ``folder``, or in a folder in it."""
    marks = (INDEX, "config.json", "snapshots")
    inside = list(folder.iterdir())
    named = any(p.name in marks or p.suffix.lower() in (".safetensors", *PICKLES) for p in inside)
    return named or any((p / INDEX).is_file() or (p / "snapshots").is_dir() for p in inside)


def entry_behind(name: str) -> ModelEntry | None:
    """What is known of a job's model, named as in a job: the catalogue's entry, also where the name is the path of a
    copy that was got through this program or that lies in the hub's cache, or leads to one; None for all others."""
    known = find_entry(name)
    if known is not None:
        return known
    place = existing(name)
    if place is None:
        return entry_of(name)
    places = [place]
    with suppress(JobError):
        places.append(_folder_at(place, lambda folder: None))  # the copy may lie in the folder that was named
    places += [found.resolve() for found in places]  # or a link may lead to it
    for folder in dict.fromkeys(folder for found in places for folder in (found, *found.parents)):
        record = read_record(folder) if os.path.isfile(folder / RECORD) else None
        if record is not None:
            return entry_of(record.id)
        if folder.name.startswith("models--"):
            return entry_of(folder.name.removeprefix("models--").replace("--", "/", 1))
    return None


@readable()
def _folder_at(place: Path, read: Callable[[Path], object]) -> Path:
    """The model's folder at, just above or just below ``place``."""
    if not place.is_dir():
        return _folder_of_file(place)
    if (place / INDEX).exists():
        return place
    if (place / "snapshots").is_dir():
        return snapshot(place, read)
    if place.name == "snapshots":
        return snapshot(place.parent, read)
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise unreadable(f"{place} cannot be read ({error.strerror})", "Change its permissions.") from error
    below = [p for p in inside if p.is_dir() and ((p / INDEX).is_file() or (p / "snapshots").is_dir())]
    if len(below) == 1:
        return _folder_at(below[0], read)
    if below:
        some = ", ".join(p.name for p in below[:4])
        raise unreadable(f"{place} holds {len(below)} models ({some}{' …' if len(below) > 4 else ''})", "Choose one.")
    if (place.parent / INDEX).is_file() and read_json(place.parent / INDEX).get(place.name):
        return place.parent
    if len(whole := [p for p in inside if _is_whole(p)]) == 1:
        return whole[0]
    raise _no_model(place, inside)


def _folder_of_file(file: Path) -> Path:
    """The model that a file is, or that it is the index of; all others are refused with what they are."""
    if file.name == INDEX:
        return file.parent
    if _is_whole(file):
        return file
    raise _what_file(file)


def _is_whole(file: Path) -> bool:
    """Whether a file looks like a whole model; where it cannot be read, it is no such."""
    try:
        return file.suffix.lower() == ".safetensors" and is_single_file(read_header(file))
    except JobError:
        return False


def _what_file(file: Path) -> JobError:
    suffix = file.suffix.lower()
    if suffix in PICKLES:
        fix = "Choose the same model as safetensors, or make such a file of it by “csd models convert FILE”."
        return unreadable(f"{file} is a pickle, which may hold a program and is never opened", fix)
    if suffix != ".safetensors":
        return unreadable(f"{file} is no model", WHOLE)
    try:
        keys = list(read_header(file))
    except JobError as error:
        return error
    if any("lora" in key.lower() or ".hada_" in key or ".lokr_" in key for key in keys):
        return unreadable(
            f"{file} is a LoRA, an addition to a model and not a whole one",
            "Choose the model that it belongs to; the LoRA is a setting of its own.",
        )
    if any(key.startswith("control_model.") for key in keys):
        return unreadable(f"{file} is a ControlNet and not a whole model", WHOLE)
    return unreadable(f"{file} is a single file of weights and not a whole model", LAYOUT)


def _no_model(place: Path, inside: list[Path]) -> JobError:
    """What a folder without an index is."""
    if not inside:
        return unreadable(f"{place} is empty", WHOLE)
    if (place / "adapter_config.json").is_file():
        return unreadable(f"{place} is a LoRA and not a whole model", WHOLE)
    if (place / "config.json").is_file():
        try:
            config = read_json(place / "config.json")
        except JobError as error:
            return error
        kind = config.get("_class_name") or (config.get("architectures") or ["network"])[0]
        return unreadable(f"{place} is a {shortened(str(kind))} alone and not a whole model", WHOLE)
    files = [p for p in inside if p.suffix.lower() in (".safetensors", *PICKLES)]
    if len(whole := [p for p in files if _is_whole(p)]) > 1:
        some = ", ".join(p.name for p in whole[:4])
        return unreadable(f"{place} holds {len(whole)} models ({some}{' …' if len(whole) > 4 else ''})", "Choose one.")
    if files:
        return _what_file(files[0])
    return unreadable(f"{place} has no {INDEX}", WHOLE)


@readable()
def snapshot(repository: Path, read: Callable[[Path], object] = read_model) -> Path:
    """The newest whole state of a repository in the hub's cache: the one that ``main`` names, or an older one.

    ``read``: as in :func:`in_cache`.

    Raises:
        JobError: ``model_unreadable`` naming what is missing in the newest when none is whole.
    """
    try:
        states = [p for p in (repository / "snapshots").iterdir() if p.is_dir()]
        states.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        main = repository / "refs" / "main"
        commit = read_ordinary(main, NAME_LIMIT).decode("utf-8").strip() if main.is_file() else ""
    except (OSError, ValueError) as error:
        raise unreadable(f"{repository} cannot be read", "Download the model again.") from error
    states.sort(key=lambda p: p.name != commit)  # a stable sort: that one first, the others stay in order
    problem = unreadable(f"{repository} holds no downloaded model", "Download it again.")
    for i, state in enumerate(states):
        try:
            place = state
            if not (state / INDEX).exists() and any(_is_whole(file) for file in state.iterdir()):
                place = _folder_at(state, read)  # published as single files
            read(place)
            return place
        except JobError as error:
            problem = problem if i else error
    raise problem
