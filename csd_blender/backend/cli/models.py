"""``csd models``: what there is, with licences; getting, checking and removing it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ...job.errors import JobError, shortened
from ...job.models.catalogue import ModelEntry, entry_of
from ...job.models.places import find_copy
from ...job.models.states import ModelState, look_at, look_at_all
from ...job.models.store import (
    FOLDER,
    RECORD,
    file_sum,
    free_bytes,
    lock_file,
    models_folder,
    own_folder,
    part_folder,
    read_record,
    remove,
    verify,
)
from ...job.process.processes import HeldFile
from .convert import convert_model
from .exit_codes import EXIT_CANCELLED, EXIT_FAILED
from .options import named_path

GRACE = 3.0  # seconds from the owner's word to stop until the process ends in the middle of whatever it waits for


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``models`` with its commands; alone it lists."""
    parser = commands.add_parser("models", help="list, get, check and remove diffusion models")
    parser.set_defaults(run=list_models, folder=None)
    actions = parser.add_subparsers(metavar="ACTION")

    def action(
        name: str, run: Callable[[argparse.Namespace], int], said: str, of_folder: bool = True
    ) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=said)
        if of_folder:
            made.add_argument(
                "--folder",
                type=named_path,
                metavar="DIR",
                help=f"folder of models (default: {FOLDER}, or the user's own)",
            )
        made.set_defaults(run=run)
        return made

    action("list", list_models, "all that this version knows, and what is here")
    get = action("get", get_model, "download a model, or go on with it")
    get.add_argument("model", metavar="NAME", help="a name from the list, or a repository of the Hugging Face hub")
    get.add_argument("--allow-noncommercial", action="store_true", help="also one that is not for commercial use")
    get.add_argument("--new-version", action="store_true", help="its files may differ from those that came first")
    get.add_argument("--lines", action="store_true", help="progress as JSON lines; stdin says when to stop")
    get.set_defaults(online=True)
    gone = action("remove", remove_model, "delete a model, or what came of it so far")
    gone.add_argument("model", metavar="NAME")
    said = "write a checkpoint that is a pickle (.pt, .ckpt) as .safetensors"
    other = action("convert", convert_model, said, of_folder=False)
    other.add_argument("file", type=Path, metavar="FILE")
    other.add_argument("--out", type=named_path, metavar="FILE", help="(default: beside it, with that ending)")
    check = action("verify", verify_models, "read models again, and hold every file against its sum")
    check.add_argument("models", nargs="*", metavar="NAME", help="all that are here, where none is named")


def list_models(arguments: argparse.Namespace) -> int:
    """Print the list. Returns the exit status."""
    from ..mini.vocabulary import COLORS, OWN_MATERIALS, PATTERNS

    root = root_of(arguments)
    for found in look_at_all(root):
        print(line_of(found))
    print(f"\nModels are kept in {root}, {free_bytes(root) / 1e9:.1f} GB are free there.")
    print("Get one by: csd models get NAME; repositories of the Hugging Face hub are names, too.")
    print("\nThe bundled model's materials: " + ", ".join(OWN_MATERIALS))
    print("Its patterns, with a color:    " + ", ".join(PATTERNS))
    print("Its colors:                    " + ", ".join(COLORS))
    return 0


def line_of(found: ModelState) -> str:
    """One model, its terms and its state."""
    entry = found.entry
    terms = f"commercial use: {entry.commercial:7} {entry.licence}"
    later = "" if entry.can_be_used or not entry.family else "cannot be used yet; "
    if not entry.family:  # not of the catalogue, so that nothing else is known
        return f"{entry.id:12} {found.total / 1e9:.1f} GB  {terms}; {found.text}"
    size = "bundled" if not entry.download_mb else size_text(entry.download_mb * 10**6)
    needs = f"{entry.native_size:4} px  memory {entry.memory_mb / 1000:4.1f} GB"
    return f"{entry.id:12} {entry.label:28} {size:>8}  {needs}  {terms}; {later}{found.text}"


def size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"


def root_of(arguments: argparse.Namespace) -> Path:
    """The folder of models that the command is about; the rest of the program looks there, too."""
    if arguments.folder is not None:
        os.environ[FOLDER] = str(arguments.folder.absolute())
    return models_folder()


def entry_for(name: str) -> ModelEntry:
    """Raises ``JobError('model_missing')`` for what can be no model's name."""
    entry = entry_of(name)
    if entry is None:
        raise JobError(
            "model_missing", f"“{shortened(name)}” is not in the list", "Choose a name from “csd models list”."
        )
    return entry


# ---- get -------------------------------------------------------------------------------------------------------------


def get_model(arguments: argparse.Namespace) -> int:
    """Download a model. Returns the exit status."""
    root, entry = root_of(arguments), entry_for(arguments.model)
    if arguments.lines:
        return get_in_lines(entry, root, arguments)
    from tqdm import tqdm

    from ..hub.fetch import Stopped
    from ..hub.get import Progress
    from ..hub.get import get_model as get
    from .console import interrupt_once

    print(f"{entry.label}: {entry.licence}, {entry.terms}.", file=sys.stderr)
    if arguments.new_version and (own_folder(entry.id, root) / RECORD).is_file():
        print("Note: it is here already; remove it first where another version is wanted.", file=sys.stderr)
    bar = tqdm(total=0, unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True, mininterval=0.5, leave=False)

    def report(progress: Progress) -> None:
        if not bar.total and progress.total:
            left = size_text(progress.total - progress.done)
            bar.write(f"{left} to come, {progress.free / 1e9:.1f} GB free in {root}.", file=sys.stderr)
        bar.set_description(progress.text, refresh=False)
        bar.total, bar.n = progress.total, progress.done
        bar.refresh()

    stop = threading.Event()
    interrupt_once(stop.set, stop.set)
    try:
        folder = get(entry, root, report, stop.is_set, arguments.allow_noncommercial, arguments.new_version)
    except Stopped:
        bar.close()
        print("Stopped; the same command goes on.", file=sys.stderr)
        return EXIT_CANCELLED
    finally:
        bar.close()
    note = unusable(entry, root)
    if note:
        print(f"Note: {note}", file=sys.stderr)
    print(folder)
    return 0


def get_in_lines(entry: ModelEntry, root: Path, arguments: argparse.Namespace) -> int:
    """The same as a child of Blender: one JSON object a line. The end of stdin, or a line on it, says stop; what came
    is kept, unless the line says ``cancel``."""
    from ..hub.fetch import Stopped
    from ..hub.get import Progress
    from ..hub.get import get_model as get

    stop, wish = threading.Event(), [""]

    def tell(kind: str, **body: object) -> None:
        sys.stdout.write(json.dumps({"type": kind, **body}) + "\n")
        sys.stdout.flush()

    def listen() -> None:
        # Not sys.stdin: a daemon thread that holds its buffer's lock makes Python abort at exit.
        wish[0] = os.read(0, 64).decode("ascii", "replace").strip()
        stop.set()
        ended.wait(GRACE)
        if not ended.is_set():  # it waits for the network; what is on the disk stays as it is
            os.write(1, (json.dumps({"type": give_up()}) + "\n").encode())
            os._exit(EXIT_CANCELLED)

    def give_up() -> str:
        if wish[0] != "cancel":
            return "paused"
        try:
            remove(part_folder(entry.id, root))
        except JobError:  # somebody put files of his own there
            return "paused"
        return "cancelled"

    def report(progress: Progress) -> None:
        tell("progress", **vars(progress))

    ended = threading.Event()
    threading.Thread(target=listen, daemon=True).start()
    try:
        folder = get(entry, root, report, stop.is_set, arguments.allow_noncommercial, arguments.new_version)
        tell("done", folder=str(folder), note=unusable(entry, root))
        return 0
    except Stopped:
        tell(give_up())
        return EXIT_CANCELLED
    except JobError as error:
        tell("error", code=error.code, text=error.text, fix=error.fix, detail=error.detail)
        return EXIT_FAILED
    finally:
        ended.set()


def unusable(entry: ModelEntry, root: Path) -> str:
    """Why jobs cannot use what came, where that is so: only the catalogue's models were tried before."""
    try:
        find_copy(entry, root)
    except JobError as error:
        return f"{error.detail or error.text}."
    return ""


# ---- what is here ----------------------------------------------------------------------------------------------------


def remove_model(arguments: argparse.Namespace) -> int:
    """Delete a model that was got through this program. Returns the exit status."""
    root, entry = root_of(arguments), entry_for(arguments.model)
    if not entry.sources:
        raise JobError("no_permission", f"{entry.label} came with the program", "It takes no place of its own.")
    folders = [f for f in (own_folder(entry.id, root), part_folder(entry.id, root)) if os.path.lexists(f)]
    if not folders:
        if look_at(entry, root).state == "ready":
            fix = "Delete it there, with “hf cache rm” or by hand."
            raise JobError("no_permission", f"{entry.label} is in the Hugging Face cache", fix)
        raise JobError("model_missing", f"{entry.label} is not in {root}", "See “csd models list”.")
    with HeldFile(lock_file(entry.id, root), f"a download of {entry.label} is running"):
        for folder in folders:
            remove(folder)
            print(f"removed {folder}")
    return 0


def verify_models(arguments: argparse.Namespace) -> int:
    """Read models again. Returns the exit status: 1 when one of them is not as it came."""
    root = root_of(arguments)
    if arguments.models:
        entries = [entry_for(name) for name in arguments.models]
    else:
        entries = [found.entry for found in look_at_all(root) if found.state in ("ready", "broken")]
    bad = 0
    for entry in entries:
        try:
            print(f"{entry.id:12} {verified(entry, root)}")
        except JobError as error:
            bad += 1
            print(f"{entry.id:12} BAD: {error.message}")
    if not entries:
        print("There is no downloaded model on this computer.")
    return EXIT_FAILED if bad else 0


def verified(entry: ModelEntry, root: Path) -> str:
    """What was found sound, in words. Raises ``JobError`` for what is not."""
    if not entry.sources:
        return "came with the program; a job looks through its files before it begins"
    folder = own_folder(entry.id, root)
    record = read_record(folder)
    if record is not None:
        verify(folder, record)
        return f"sound, {len(record.files)} files"
    folder = find_copy(entry, root)
    known = 0
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        sums = (entry.sums.get(file.relative_to(folder).as_posix(), ""), sum_of_link(file))
        for published in filter(None, dict.fromkeys(sums)):
            if sum_like(published, file) != published:
                raise JobError("model_changed", str(file), "Delete it from the Hugging Face cache, then get it.")
        known += any(sums)
    return f"in the Hugging Face cache; {known} files with known sums are sound"


def sum_of_link(file: Path) -> str:
    """The sum that the cache names a file by; empty where it is no link to one that is named so."""
    name = os.path.basename(os.path.realpath(file)) if file.is_symlink() else ""
    return name if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", name) else ""


def sum_like(published: str, file: Path) -> str:
    """A file's sum of the same kind: SHA-256, as of large files, or Git's own."""
    if len(published) == 64:
        return file_sum(file)
    from ..hub.fetch import git_sum

    return git_sum(file)
