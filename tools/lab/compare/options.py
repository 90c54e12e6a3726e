"""What the shell says of the comparisons, and which one it asks for."""

from __future__ import annotations

import argparse

from csd_blender.backend.cli.options import number, whole
from csd_blender.job.presets.texture import MINI_CONTROL_STRENGTH
from csd_blender.job.spec.methods import METHODS

from ...paths import BUILD

TABLES = {
    "methods": "every method on 10 textures at Draft; a few at Normal and on 8 objects; with charts",
    "sheet": "all methods on three prompts, two seeds each, on one picture",
    "diversity": "how far apart the results of different seeds are",
    "janus": "how often objects have two faces, and what helps",
    "after-picture": "objects that are made after one picture, against the true shapes",
    "pictures": "what CSD leaves on single pictures, against the model's own samples, and what cures it",
    "alignment": "how well textures fit the parts of six meshes, without and with ControlNets",
    "patterns": "patterns on meshes of many parts, from gray and as the preset makes them",
    "frontier": "a texture's presets and what makes them quicker: quality and fit to the parts against seconds",
    "encoders": "the bundled model's small encoder beside its own: gradients, latents, seconds",
    "guidance": "one step of each method beside one as the published code takes it",
}
PARTS = ("textures", "normal", "objects")


def add_options(parser: argparse.ArgumentParser, tables: argparse._MutuallyExclusiveGroup) -> None:
    """An option for each table, and what they share. They write their rows to a file, and go on where they were."""
    for name, text in TABLES.items():
        tables.add_argument(f"--{name}", action="store_true", help=text)
    group = parser.add_argument_group("for " + ", ".join(f"--{name}" for name in TABLES))
    group.add_argument("--only", type=methods, default=(), metavar="A,B", help="these methods alone")
    group.add_argument("--part", choices=PARTS, help="of --methods; default: all three")
    group.add_argument("--show", action="store_true", help="make nothing, print what is there")
    group.add_argument("--rehearse", action="store_true", help="go through it at sizes whose figures mean nothing")
    group.add_argument("--pixels", type=whole, default=0, help="of --guidance: side of the pictures; default: 512")
    group.add_argument("--nets", default="", metavar="PATHS", help="of --alignment: ControlNets; default: the bundled")
    usual = MINI_CONTROL_STRENGTH
    group.add_argument("--strength", type=number, default=usual, help=f"of these, and of --control; default: {usual}")
    group.add_argument("--warm", type=whole, metavar="N", help="of these, and of --quality: pictures to start from")
    group.add_argument("--repeats", type=whole, default=2, help="of --guidance: timed runs of each step; default: 2")


def methods(text: str) -> tuple[str, ...]:
    """Ids with commas between them."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"there is no method {unknown[0] if unknown else text!r}; known are {', '.join(METHODS)}"
        )
    return names


def chosen(arguments: argparse.Namespace) -> str | None:
    """The table that is asked for."""
    return next((name for name in TABLES if getattr(arguments, name.replace("-", "_"))), None)


def run(arguments: argparse.Namespace) -> int:
    """Make and print it; returns the exit status."""
    table = chosen(arguments)
    out = (arguments.out or BUILD / f"bench-{table}").absolute()
    out.mkdir(parents=True, exist_ok=True)
    shared = {"only": arguments.only, "show": arguments.show}
    if table == "guidance":
        from .guidance import REHEARSAL, Sizes, run_guidance

        sizes = REHEARSAL if arguments.rehearse else Sizes(pixels=arguments.pixels, repeats=arguments.repeats)
        return run_guidance(out, sizes=sizes, **shared)
    if table == "encoders":
        from ..encoders import run_encoders

        return run_encoders(out, arguments.large, arguments.rehearse, arguments.show)
    shared |= {"processes": arguments.processes, "rehearse": arguments.rehearse}
    if table == "methods":
        from .table import run_methods

        return run_methods(out, part=arguments.part, **shared)
    if table == "sheet":
        from .sheet import run_sheet

        return run_sheet(out, quality=arguments.preset or "draft", **shared)
    if table == "diversity":
        from .diversity import run_diversity

        return run_diversity(out, **shared)
    if table == "alignment":
        from .on_parts.alignment import run_alignment

        del shared["only"]
        return run_alignment(out, arguments.nets, arguments.strength, arguments.warm, **shared)
    if table == "pictures":
        from .artifacts import run_artifacts

        return run_artifacts(out, quality=arguments.preset or "normal", **shared)
    if table == "patterns":
        from .on_parts.patterns import run_patterns

        del shared["only"]
        return run_patterns(out, arguments.preset or "draft", **shared)
    if table == "frontier":
        from .on_parts.frontier import run_frontier

        del shared["only"]
        return run_frontier(out, **shared)
    if table == "after-picture":
        from .after_picture import run_after_picture

        return run_after_picture(out, **shared)
    from .janus import run_janus

    return run_janus(out, **shared)


def complaint(arguments: argparse.Namespace) -> str | None:
    """What does not fit together, in a sentence."""
    if arguments.repeats < 1:
        return "--repeats must be at least 1"
    if arguments.pixels < 0 or arguments.pixels % 64:
        return "--pixels must be a multiple of 64, as the network halves pictures six times"
    if chosen(arguments) is None and (arguments.only or arguments.part or arguments.show or arguments.rehearse):
        return "--only, --part, --show and --rehearse belong to " + ", ".join(f"--{name}" for name in TABLES)
    return None
