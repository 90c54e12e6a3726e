"""``csd texture``, ``csd text-to-3d``: one command for each kind of job, with the kind's settings as its options."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from ...job.files import COARSE_SHAPE, INPUT_COLORS, INPUT_PICTURE
from ...job.folder import JobFolder, coarse_settings, read_coarse
from ...job.kinds import KINDS, JobSpec, find_kind, noun
from ...job.models.control import lasting_control_names
from ...job.models.encoder import lasting_encoder_name
from ...job.models.language import lasting_language_name
from ...job.models.licences import check_job
from ...job.models.lora import lasting_lora, with_weight
from ...job.models.places import lasting_name
from ...job.picture_file import after_picture, picture_of
from ...job.presets.picture_recipe import ALONE as PICTURE_ALONE
from ...job.presets.recipes import OF_PICTURES
from ...job.result import is_complete
from ...job.spec.common import PASSING
from .exit_codes import EXIT_USAGE
from .options import add_settings, given_settings, idle_notes, json_object, named, named_path, settings_of, usual_flag


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the parser of each kind's command."""
    for kind in KINDS:
        parser = commands.add_parser(kind.spec.kind, help=kind.command)
        inputs = [f.name for f in fields(kind.spec.inputs)]
        if kind.spec.inputs.needs_mesh:
            parser.add_argument("mesh", nargs="?", metavar="MESH", help=".obj, .glb, .gltf, .ply or .stl file")
        if "start_from_mesh" in inputs:
            parser.add_argument(
                "--start", dest="start_mesh", type=named_path, metavar="MESH", help="begin with this mesh's shape"
            )
        if "refine_from" in inputs:
            parser.add_argument(
                "--refine-from", type=named_path, metavar="DIR", help="refine another job's coarse stage anew"
            )
        if "picture" in inputs:
            said = "make it after this picture of it, by a Zero-1-to-3"
            parser.add_argument("--picture", type=named, metavar="FILE", help=said)
        add_settings(parser, kind.spec)
        parser.add_argument(
            "--settings", type=json_object, default={}, metavar="JSON", help="further fields of the job"
        )
        parser.add_argument("--out", type=named_path, metavar="DIR", help="new folder for the job and its result/")
        parser.add_argument("--resume", type=named_path, metavar="DIR", help="go on with an interrupted job")
        parser.set_defaults(run=generate, kind=kind)


def generate(arguments: argparse.Namespace) -> int:
    """Run the command: a new job, or one that goes on. Returns the exit status."""
    if arguments.resume is not None:
        return resume(arguments)
    trouble = missing(arguments)
    if trouble:
        print(f"Error: {trouble}", file=sys.stderr)
        return EXIT_USAGE
    folder = write_folder(arguments)
    return run(folder, resume=False, refused=folder.withdraw)


def shape_is_given(values: Mapping[str, Any]) -> bool:
    """Whether an object begins with a file's mesh, or another job's shape."""
    return values.get("start_mesh") is not None or values.get("refine_from") is not None


def missing(arguments: argparse.Namespace) -> str:
    """What the arguments lack, or hold too much of, as a sentence."""
    name, values = arguments.kind.spec.kind, vars(arguments)
    texts = [s for s in settings_of(arguments.kind.spec) if s.get("needed")]
    if not shape_is_given(values):
        values = values | after_picture({k: v for k, v in values.items() if v is not None}, values.get("picture"))
    if values.get("recipe") in OF_PICTURES and not (values["picture"] or shape_is_given(values)):
        return f"csd {name} --recipe {values['recipe']} needs --picture FILE."
    wanted = {"mesh": "MESH", **{s.name: usual_flag(s) for s in texts}, "out": "--out"}
    lacking = [shown for key, shown in wanted.items() if key in values and not str(values[key] or "").strip()]
    if lacking:
        return f"csd {name} needs {', '.join(lacking)} (or --resume DIR alone)."
    return contradiction(arguments)


def contradiction(arguments: argparse.Namespace) -> str:
    """Where the arguments say a thing twice, and differently, as a sentence."""
    values, name = vars(arguments), arguments.kind.spec.kind
    given, more = given_settings(arguments, arguments.kind.spec), arguments.settings
    for setting in settings_of(arguments.kind.spec):
        told = more.get(setting.name)
        if setting.get("needed") and not (isinstance(told, str) and told.isprintable()):
            continue  # the job's own check says what is wrong with it
        if setting.name in given and given[setting.name] != more.get(setting.name, given[setting.name]):
            return f"{usual_flag(setting)} and --settings say something different of {setting.name}."
    both = given | more
    weight = with_weight(both["lora"])[1] if isinstance(both.get("lora"), str) else None
    if weight is not None and weight != both.get("lora_weight", weight):
        return "the LoRA's name and its strength say something different; give one of them."
    if values.get("start_mesh") is not None and values.get("refine_from") is not None:
        return f"csd {name} begins with either --start or --refine-from."
    return ""


def write_folder(arguments: argparse.Namespace) -> JobFolder:
    """The folder of a new job, with what it begins with. Raises ``JobError``; nothing was written then."""
    kind, values = arguments.kind, given_settings(arguments, arguments.kind.spec) | arguments.settings
    given = vars(arguments)
    picture = given.get("picture") or ""
    if not shape_is_given(given):
        values = after_picture(values, picture)
    if isinstance(values.get("lora"), str):
        values["lora"], weight = with_weight(values["lora"])
        values |= {} if weight is None else {"lora_weight": weight}
    coarse, mesh_file = None, given.get("mesh")
    if given.get("start_mesh") is not None:
        mesh_file, values["start"] = arguments.start_mesh, "mesh"
    if given.get("refine_from") is not None:
        source = JobFolder.open(arguments.refine_from)
        values = coarse_settings(source, values["prompt"]) | values
        coarse = read_coarse(source)
    notes = idle_notes(kind.spec, values | ({"picture": picture} if picture else {}))
    if values.get("recipe") == PICTURE_ALONE and given.get("prompt"):
        notes.append("--prompt only names the object: the model sees the picture.")
    job = kind.make(**values)
    check_job(job)
    job = with_lasting_names(job)
    shown = picture_of(job, picture, "Give one by --picture.")
    if shown is not None:
        from ..pipelines.text_to_3d.one_picture import read_picture  # brings torch, see `run`

        read_picture(shown)
    mesh = colors = None
    if mesh_file is not None:
        from ..geometry.mesh_io import load_colored, load_mesh, save_npz

        if kind.spec.inputs.needs_mesh and kind.spec.inputs.needs_colors:
            mesh, colors = load_colored(mesh_file)
        else:
            mesh = load_mesh(mesh_file)
    folder = JobFolder.create(arguments.out, job)
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    try:
        if mesh is not None:
            save_npz(folder.mesh_path, mesh)
        if colors is not None:
            from ..geometry.files.colors import save_colors

            save_colors(folder.path / INPUT_COLORS, colors)
        if coarse is not None:
            folder.write_bytes(COARSE_SHAPE, coarse)
        if shown is not None:
            folder.write_bytes(INPUT_PICTURE, shown)
    except BaseException:  # a full disk, or Ctrl+C: half of a job is of no use
        folder.withdraw()
        raise
    return folder


def with_lasting_names(job: JobSpec) -> JobSpec:
    """The same job, its models named so that they are found from elsewhere too."""
    tells = getattr(job, "tells", {})
    lasting = {
        "model": partial(lasting_name, told=tells.get("model", "prompt")),
        "coarse_model": partial(lasting_name, told=tells.get("coarse_model", "prompt")),
        "debias_prompt": lasting_language_name,
        "control_model": lasting_control_names, "lora": lasting_lora, "encoder": lasting_encoder_name,
    }  # fmt: skip
    looked_at = {(getattr(job, field), told) for field, told in tells.items()}
    for name, told in set(getattr(job, "models", ())) - looked_at:
        lasting_name(name, told)  # refused before there is a folder, where it has to draw after other things
    names = {field: getattr(job, field) for field in lasting if getattr(job, field, "")}
    return replace(job, **{field: lasting[field](name) for field, name in names.items()})


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a job of this kind as it is; one of another kind is refused with the command that does, and so are
    settings that would make it another job. The exit status."""
    path, kind = arguments.resume, arguments.kind
    folder = JobFolder.open(path)
    its = find_kind(folder.spec.kind)
    if its is not kind:
        line = f"csd {its.spec.kind} --resume {shlex.quote(str(path))}"
        print(f"Error: the job in this folder makes {noun(its.spec)}; go on with it by: {line}", file=sys.stderr)
        return EXIT_USAGE
    given = given_settings(arguments, kind.spec)
    flags = {s.name: usual_flag(s) for s in settings_of(kind.spec)} | {"mesh": "MESH", "start_mesh": "--start"}
    more = ("mesh", "start_mesh", "refine_from", "picture", "settings", "out")
    wrong = [name for name in given if name not in PASSING]
    wrong += [name for name in more if getattr(arguments, name, None)]
    if wrong:
        named = ", ".join(flags.get(name, "--" + name.replace("_", "-")) for name in wrong)
        print(f"Error: --resume goes on with the job as it is; leave out {named}, or begin a new one.", file=sys.stderr)
        return EXIT_USAGE
    if is_complete(folder.path):
        print(f"This job is finished; its result is in {folder.path / 'result'}.")
        return 0
    return run(folder.with_settings(given) if given else folder, resume=True)


def run(folder: JobFolder, resume: bool, refused: Callable[[], object] = lambda: None) -> int:
    """Run the job here. Returns the exit status. ``refused`` as of :func:`~.console.run_on_console`."""
    from .console import run_on_console  # brings torch, which is too slow for an answer to a mistake

    return run_on_console(folder, resume, refused)
