"""Small encoders: the words of the setting, which one belongs to which family of models, and where they lie.

Score distillation brings a picture to latents, and a gradient back, at every step. A VAE's own encoder is large; one
of a few convolutions that was distilled from it does the same in a fraction of the time. It is a folder as diffusers
saves an ``AutoencoderTiny``, ``config.json`` and safetensors, of which only the encoder is used. Nothing is downloaded,
and nothing of a folder is ever run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import JobError, shortened
from .catalogue import entry_of, find_entry
from .files import Part
from .language import in_its_own_words
from .places import GET, entry_behind, existing, folder_of, in_cache, read_network_alone
from .store import whole_copy

FULL, SMALL = "full", "small"
OTHER = "Choose the folder of an AutoencoderTiny, or set Encoder to full."
#: The published ones, by the family of the models whose latents they make; all three by Ollin Boer Bohan, under MIT.
PUBLISHED = {
    "sd": "madebyollin/taesd",
    "mvdream": "madebyollin/taesd",  # which is a Stable Diffusion 2
    "zero123": "madebyollin/taesd",
    "sdxl": "madebyollin/taesdxl",
    "sd3": "madebyollin/taesd3",
}


@dataclass(frozen=True)
class EncoderFiles:
    """The small encoder that a job wants.

    Attributes:
        name: as somebody wrote it, the repository's, or that of the model that it comes with.
    """

    name: str
    part: Part


def named_encoder(words: str) -> str:
    """The name or path that the setting gives; empty for ``full`` and ``small``."""
    return "" if words in (FULL, SMALL) else words


def lasting_encoder_name(words: str) -> str:
    """The setting with a name that leads to the same files from every folder. Raises ``JobError`` as
    :func:`find_encoder`."""
    if not named_encoder(words):
        return words
    find_encoder(words)
    place = existing(words)
    return words if place is None else str(place)


def chosen_encoder(words: str, family: str, bundled: Path | None = None) -> EncoderFiles | None:
    """The encoder of a job on a model of that family; None for the model's own.

    Args:
        words: the setting ``encoder``.
        bundled: folder of one that comes with the model, or None.

    Raises:
        JobError: ``encoder_missing`` and ``encoder_unreadable`` as :func:`find_encoder`, and for one that is known to
            belong to another family.
    """
    if words == FULL:
        return None
    if words == SMALL and bundled is not None:
        return EncoderFiles("mini", read_encoder(bundled))
    name = _published(family) if words == SMALL else words
    folder = find_encoder(name)
    entry = entry_behind(name)
    if entry is not None and entry.role == "encoder" and PUBLISHED.get(family) not in entry.sources:
        raise JobError(
            "encoder_unreadable",
            f"{folder} is {entry.label}, for models of {entry.family_label} alone",
            "Choose one that was made for this model, or set Encoder to full.",
        )
    return EncoderFiles(name, read_encoder(folder))


def _published(family: str) -> str:
    """The published one for a family. Raises ``JobError`` where there is none."""
    name = PUBLISHED.get(family)
    if name is None:
        raise JobError("encoder_missing", "there is no small one for models of this kind", OTHER)
    return name


def find_encoder(name: str) -> Path:
    """Folder of a small encoder given as a path, a catalogue id, or a repository of the hub that is in its cache.

    Raises:
        JobError: ``encoder_missing`` when there is nothing of that name, ``encoder_unreadable`` when it is something
            else, or a file of it is missing or damaged.
    """
    with in_its_own_words("encoder"):
        place = existing(name)
        if place is not None:
            return folder_of(place, read_encoder)
        entry = entry_of(name)
        own = None if entry is None else whole_copy(entry.id)
        if own is not None:
            read_encoder(own)
            return own
        try:
            return in_cache(name, () if entry is None else entry.sources, read_encoder)
        except JobError as error:
            if error.code != "model_missing":
                raise
            known = find_entry(name)
            if known is not None and known.role != "encoder":
                raise JobError("encoder_unreadable", f"{known.label} is no small encoder", OTHER) from error
            get = "Download it into the Hugging Face cache" if known is None else GET.format(name=known.id)[:-1]
            fix = f"{get}, or set Encoder to full." if entry is not None else ""
            raise JobError("encoder_missing", f"there is none “{shortened(name)}”", fix) from error


def read_encoder(folder: Path) -> Part:
    """Look through a small encoder's folder. Raises ``JobError('encoder_unreadable')`` for the first thing amiss."""
    with in_its_own_words("encoder"):
        return read_network_alone(
            folder, "AutoencoderTiny", "small encoder", OTHER, "{folder} is of the class {named} and no AutoencoderTiny"
        )
