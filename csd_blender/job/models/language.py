"""Where a masked language model lies on this computer, for prompt debiasing, and whether its files are all there.

A folder as transformers saves one: ``config.json``, weights as safetensors, a tokenizer. Nothing is downloaded, and
nothing of a folder is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import JobError, shortened
from .contents import AGAIN, check_file, read_json, readable, refuse_code, unreadable
from .files import INDEX, WORDS_LIMIT, Part, read_network
from .places import existing, folder_of, in_cache

#: The bundled one, which is looked for by the backend.
BUNDLED = "mini"
OTHER = "Choose the folder of a masked language model, such as BERT."
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
#: Any of these holds a tokenizer's words.
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


def find_language_model(name: str) -> Path:
    """Folder of a masked language model given as a path, or as a repository of the hub that is in its cache.

    Raises:
        JobError: ``language_model_missing`` when there is nothing of that name, ``language_model_unreadable`` when it
            is another sort of model, or a file of it is missing or damaged.
    """
    with in_its_own_words():
        place = existing(name)
        if place is None:
            return in_cache(name, (name,) if _REPOSITORY.fullmatch(name) else (), read_language_model)
        return folder_of(place, read_language_model)


def lasting_language_name(name: str) -> str:
    """The name that leads to the same model from every folder. Raises ``JobError`` as :func:`find_language_model`."""
    if name == BUNDLED:
        return name
    find_language_model(name)
    place = existing(name)
    return name if place is None else str(place)


@readable()
def read_language_model(folder: Path) -> Part:
    """Look through a folder. Raises ``JobError`` for the first thing that is missing, damaged, or a program."""
    with in_its_own_words():
        if (folder / INDEX).exists():
            raise unreadable(f"{folder} is a diffusion model and no language model", OTHER)
        if not (folder / "config.json").exists():
            raise unreadable(f"{folder} has no config.json and is no language model", OTHER)
        refuse_code(folder)
        config = read_json(folder / "config.json")
        classes = config.get("architectures")
        named = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else ""
        if not named.endswith(("ForMaskedLM", "ForPreTraining")):
            what = f"is a {shortened(named)} and" if named else "is"
            raise unreadable(f"{folder} {what} no masked language model", OTHER)
        for optional in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            if (folder / optional).exists():
                read_json(folder / optional)
        words = [folder / file for file in _WORDS if (folder / file).is_file()]
        if not words:
            raise unreadable(f"{folder} has no tokenizer (tokenizer.json or vocab.txt)", AGAIN)
        for file in words:
            read_json(file, WORDS_LIMIT) if file.suffix == ".json" else check_file(file)
        return read_network(folder, named, "model")


def unreadable_language_model(detail: str) -> JobError:
    """The error for a model that is whole and does not serve, to be raised."""
    return JobError("language_model_unreadable", detail)


@contextmanager
def in_its_own_words(of: str = "language_model") -> Iterator[None]:
    """The errors about files speak of a diffusion model; here they are about another one, whose codes begin so."""
    try:
        yield
    except JobError as error:
        if not error.code.startswith("model_"):
            raise
        own_fix = error.fix != error.entry.fix and "Stable Diffusion" not in error.fix
        code = of + error.code.removeprefix("model")
        raise JobError(code, error.detail, error.fix if own_fix else "") from error
