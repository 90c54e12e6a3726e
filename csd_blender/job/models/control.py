"""ControlNets (Zhang et al. 2023, arXiv 2302.05543): the words for what they follow, and where they lie on the disk.

A ControlNet is a folder as diffusers saves one, ``config.json`` and safetensors. It belongs to one family of models.
Nothing is downloaded, and nothing of a folder is ever run: scripts in it, such as the example that the published ones
bring, are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import JobError, quoted, shortened
from .catalogue import entry_of, find_entry
from .contents import unreadable
from .files import Part
from .language import in_its_own_words
from .places import GET, existing, folder_of, in_cache, read_network_alone
from .store import whole_copy

#: What a ControlNet can follow, in the order of its channels where one follows several.
KINDS = ("depth", "normal", "canny")
OFF, AUTO = "off", "auto"
AUTO_KINDS = ("depth", "normal")  # those of the paper; edges would be a third network in each step
MOST_WEIGHT = 2.0
WORDS = f"off, auto, or a list of {', '.join(KINDS)}, each with a strength behind it if you like, as depth:0.8"
OTHER = "Choose the folder of a ControlNet for depth, normals or canny edges."

#: Published ones in the diffusers layout, by the width of the texts that a family reads: 768 Stable Diffusion 1, 1024
#: Stable Diffusion 2, 2048 SDXL. (Of normals there is none for SDXL.)
PUBLISHED = {
    768: {
        "depth": ("lllyasviel/control_v11f1p_sd15_depth",),
        "normal": ("lllyasviel/control_v11p_sd15_normalbae",),
        "canny": ("lllyasviel/control_v11p_sd15_canny",),
    },
    1024: {
        "depth": ("thibaud/controlnet-sd21-depth-diffusers",),
        "normal": ("thibaud/controlnet-sd21-normalbae-diffusers",),
        "canny": ("thibaud/controlnet-sd21-canny-diffusers",),
    },
    2048: {
        "depth": ("diffusers/controlnet-depth-sdxl-1.0", "xinsir/controlnet-depth-sdxl-1.0"),
        "canny": ("diffusers/controlnet-canny-sdxl-1.0", "xinsir/controlnet-canny-sdxl-1.0"),
    },
}
LICENCES = {
    "lllyasviel": "OpenRAIL",
    "thibaud": "other, see its page",
    "diffusers": "OpenRAIL++",
    "xinsir": "Apache-2.0",
}
FAMILY_NAMES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}

_HINTS = {"depth": ("depth", "midas", "zoe"), "normal": ("normal",), "canny": ("canny",)}


@dataclass(frozen=True)
class ControlFiles:
    """One ControlNet that a job wants.

    Attributes:
        name: as somebody wrote it, or the repository's.
        kinds: what it follows, of :data:`KINDS`; several where its channels hold one after the other.
        weight: how strongly it counts beside the others.
    """

    name: str
    kinds: tuple[str, ...]
    part: Part
    weight: float = 1.0


def wanted_kinds(words: str) -> dict[str, float] | None:
    """What the setting ``control`` asks for, with weights: nothing for ``off``, None for ``auto``.

    Raises:
        JobError: ``bad_setting`` for other words, and for weights that are no numbers from 0 to 2.
    """
    plain = words.strip().lower()
    if plain in (OFF, AUTO):
        return {} if plain == OFF else None
    found: dict[str, float] = {}
    for entry in plain.split(","):
        kind, colon, weight = (part.strip() for part in entry.partition(":"))
        if kind not in KINDS or kind in found or (colon and not _is_weight(weight)):
            raise JobError("bad_setting", f"control is {quoted(words)}, allowed is {WORDS}")
        found[kind] = float(weight) if colon else 1.0
    return found


def is_off(words: object) -> bool:
    """Whether the setting ``control`` wants none; of one that nobody has checked yet, too."""
    return isinstance(words, str) and words.strip().lower() == OFF


def _is_weight(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d*)?|\.\d+", text)) and float(text) <= MOST_WEIGHT


def listed_names(names: str) -> list[tuple[tuple[str, ...], str]]:
    """The entries of the setting ``control_model``, a list with commas: what each is said to be for, and its name.

    ``depth=PATH`` says it, ``depth+normal=PATH`` says it of a network that reads both; ``PATH`` alone leaves it open.
    """
    found = []
    for entry in (part.strip() for part in names.split(",")):
        said, equals, name = entry.partition("=")
        kinds = tuple(kind.strip().lower() for kind in said.split("+"))
        if equals and set(kinds) <= set(KINDS):
            found.append((_ordered(kinds), name.strip()))
        elif entry:
            found.append(((), entry))
    return found


def _ordered(kinds: Sequence[str]) -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if kind in kinds)


def lasting_control_names(names: str) -> str:
    """The setting ``control_model`` with names that lead to the same files from every folder.

    Raises ``JobError`` as :func:`find_control`.
    """
    entries = []
    for kinds, name in listed_names(names):
        find_control(name)
        place = existing(name)
        lasting = name if place is None else str(place)
        if "," in lasting:
            raise JobError("bad_setting", f"{quoted(lasting)} has a comma in its path, which divides ControlNets")
        entries.append(f"{'+'.join(kinds)}={lasting}" if kinds else lasting)
    return ",".join(entries)


def find_control(name: str) -> Path:
    """Folder of a ControlNet given as a path, or as a repository of the hub that is in its cache.

    Raises:
        JobError: ``control_missing`` when there is nothing of that name, ``control_unreadable`` when it is something
            else, or a file of it is missing or damaged.
    """
    with in_its_own_words("control"):
        place = existing(name)
        if place is None:
            return _copy(name)
        return folder_of(place, read_control)


def read_control(folder: Path) -> Part:
    """Look through a ControlNet's folder. Raises ``JobError('control_unreadable')`` for the first thing amiss."""
    with in_its_own_words("control"):
        return read_network_alone(
            folder, "ControlNetModel", "ControlNet", OTHER, "{folder} is a {named} and no ControlNet"
        )


def guess_kinds(name: str, config: dict) -> tuple[str, ...]:
    """What a ControlNet follows, from its channels, its name and where it came from; empty when nothing tells."""
    if config.get("conditioning_channels", 3) == 4:  # one of depth, three of normals
        return ("depth", "normal")
    for said in (Path(name).name, name, str(config.get("_name_or_path", ""))):
        found = [kind for kind, hints in _HINTS.items() if any(hint in said.lower() for hint in hints)]
        if len(found) == 1:
            return (found[0],)
    return ()


def chosen_controls(words: str, names: str, width: int, bundled: Path | None = None) -> tuple[ControlFiles, ...]:
    """The ControlNets of a job.

    Args:
        words, names: the settings ``control`` and ``control_model``.
        width: of the texts that the model reads.
        bundled: folder of one that comes with the model, or None.

    Raises:
        JobError: ``bad_setting`` for words that are none, and for names that do not go with them; ``control_missing``
            and ``control_unreadable`` as :func:`find_control`, and for one of another family of models.
    """
    wanted = wanted_kinds(words)
    if wanted == {}:
        return ()
    found = _named(names, wanted)
    if wanted is None:
        if not found:
            found = _at_hand(AUTO_KINDS, width, bundled)
        wanted = {kind: 1.0 for files in found for kind in files.kinds}
    own = None if bundled is None else _files(str(bundled), bundled)
    for kind in wanted:
        if any(kind in files.kinds for files in found):
            continue
        found.append(own if own is not None and kind in own.kinds else _published(kind, width))
    for files in found:
        _check_width(files, width)
    return tuple(replace(files, weight=_weight(files, wanted)) for files in found)


def _named(names: str, wanted: dict[str, float] | None) -> list[ControlFiles]:
    """Those that the setting ``control_model`` names, each with what it is for."""
    found = [_files(name, find_control(name), kinds) for kinds, name in listed_names(names)]
    taken = {kind for files in found for kind in files.kinds}
    rest = [kind for kind in wanted or () if kind not in taken]
    silent = [i for i, files in enumerate(found) if not files.kinds]
    if len(silent) == len(rest) == 1:  # the words say what it is for
        found[silent[0]] = replace(found[silent[0]], kinds=(rest[0],))
    elif silent:
        name = shortened(found[silent[0]].name)
        raise JobError(
            "bad_setting", f"nothing tells what {name} follows; write depth={name}, normal={name} or the like"
        )
    for i, files in enumerate(found):
        if any(set(files.kinds) & set(other.kinds) for other in found[:i]):
            raise JobError("bad_setting", f"two ControlNets are for {files.kinds[0]}: {shortened(files.name)} is one")
        if wanted is not None and not set(files.kinds) & set(wanted):
            raise JobError(
                "bad_setting",
                f"{shortened(files.name)} follows {' and '.join(files.kinds)}, which control does not name",
            )
    return found


def _files(name: str, folder: Path, kinds: tuple[str, ...] = ()) -> ControlFiles:
    part = read_control(folder)
    return ControlFiles(name, kinds or guess_kinds(name, part.config), part)


def _at_hand(kinds: Sequence[str], width: int, bundled: Path | None) -> list[ControlFiles]:
    """What there is without a word from anybody: the bundled one, else published ones."""
    if bundled is not None:
        return [_files(str(bundled), bundled)]
    found = []
    for kind in kinds:
        try:
            found.append(_published(kind, width))
        except JobError:  # not there, or not whole: a job that did not ask for it goes without
            continue
    return found


def _published(kind: str, width: int) -> ControlFiles:
    """A published one that is on this computer. Raises ``JobError`` that says which could be there."""
    sources = PUBLISHED.get(width, {}).get(kind, ())
    if not sources:
        family = FAMILY_NAMES.get(width, "this model")
        fix = f"Name a folder of one: control_model {kind}=PATH, or leave {kind} out."
        raise JobError("control_missing", f"no published one for {kind} and {family} is known", fix)
    for source in sources:
        try:
            with in_its_own_words("control"):
                return ControlFiles(source, (kind,), read_control(_copy(source)))
        except JobError as error:
            if error.code != "control_missing":
                raise
    known = find_entry(sources[0])
    get = f"Download {sources[0]} into the Hugging Face cache" if known is None else GET.format(name=known.id)[:-1]
    fix = f"{get}, or name a folder: control_model {kind}=PATH."
    raise JobError("control_missing", f"there is none for {kind}", fix)


def _copy(name: str) -> Path:
    """Folder of a repository that was got, or that is in the hub's cache. Raises ``JobError``."""
    entry = entry_of(name)
    own = None if entry is None else whole_copy(entry.id)
    if own is None:
        return in_cache(name, () if entry is None else entry.sources, read_control)
    read_control(own)
    return own


def _check_width(files: ControlFiles, width: int) -> None:
    """Raise for a ControlNet of another family."""
    own = files.part.config.get("cross_attention_dim", 1280)  # (diffusers' default)
    if own == width:
        return
    if type(own) is not int:
        with in_its_own_words("control"):
            raise unreadable(f"{files.part.folder / 'config.json'} is damaged at 'cross_attention_dim'", OTHER)
    its, ours = (f"{w} wide" + (f" ({FAMILY_NAMES[w]})" if w in FAMILY_NAMES else "") for w in (own, width))
    raise JobError(
        "control_unreadable",
        f"{files.part.folder / 'config.json'} wants texts {its}, but the model's are {ours}",
        "Choose a ControlNet that was made for this model, or set Control to off.",
    )


def _weight(files: ControlFiles, wanted: dict[str, float]) -> float:
    """The mean of what is asked for its kinds."""
    asked = [wanted[kind] for kind in files.kinds if kind in wanted]
    return sum(asked) / len(asked)


def channels_of(kinds: Sequence[str]) -> int:
    """How many channels a ControlNet reads that follows these: one alone has a colored picture."""
    return 3 if len(kinds) == 1 else sum(3 if kind == "normal" else 1 for kind in kinds)


def licence_of(name: str) -> str:
    """Licence of a ControlNet of that name."""
    entry = find_entry(name)
    return (
        entry.licence
        if entry is not None
        else LICENCES.get(name.partition("/")[0], "unknown: the ControlNet was given as a folder")
    )
