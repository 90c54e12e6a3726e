"""``python -m tools.lab``: speed, memory and judged quality, as ``build.py bench`` prints them."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from csd_blender.backend.cli.options import Parser, whole
from csd_blender.job.models.control import is_off
from csd_blender.job.models.encoder import FULL
from csd_blender.job.process.processes import open_streams
from csd_blender.job.spec.common import QUALITIES
from csd_blender.job.spec.methods import METHODS

from .compare import options as compare


def main(argv: list[str]) -> int:
    """Run one bench; returns the exit status."""
    parser = Parser(
        prog="build.py bench",
        description="Measure speed, memory and quality on this machine.",
        epilog="--window measures a real Blender's window, --cuda a graphics card; both stand alone.",
    )
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument(
        "--quality", nargs="?", const="texture", choices=("texture", "text-to-3d"), help="the table of judged results"
    )
    tables.add_argument("--memory", action="store_true", help="what steps of large models need at most, by counting")
    parser.add_argument("--edit", action="store_true", help="the table of judged edits, over --slider")
    parser.add_argument("--slider", action="append", type=float, help="only these values of the edits' alignment")
    parser.add_argument("--method", action="append", choices=METHODS, help="only these in the quality table")
    parser.add_argument("--preset", choices=QUALITIES, help="of the quality table's jobs; default: normal")
    parser.add_argument(
        "--meshes", type=positive, help="only the first N meshes (or objects, or edits) of the quality table"
    )
    parser.add_argument("--encoder", default=FULL, metavar="WORD", help="of the quality table's jobs; full, small …")
    parser.add_argument("--control", metavar="WORD", help="of the quality table's jobs; off, auto, depth,normal …")
    parser.add_argument("--processes", type=positive, default=1, help="results made side by side, one thread each")
    parser.add_argument("--out", type=Path, help="folder for a table's rows and pictures")
    parser.add_argument("--large", action="store_true", help="also time random-weight networks of SD-1.5 and 2.1 size")
    compare.add_options(parser, tables)
    parser.add_argument(
        "--similarity", nargs="+", type=Path, metavar="FOLDER", help="finished jobs: R-precision, similarity, A-LPIPS"
    )
    parser.add_argument("--clip", type=Path, metavar="MODEL", help="folder of a CLIP for them, in place of our own")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="safetensors of LPIPS-VGG for them")
    arguments = parser.parse_args(argv)
    if sentence := compare.complaint(arguments):
        parser.error(sentence)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it has processes of its own to end
    if compare.chosen(arguments):
        return compare.run(arguments)
    if arguments.memory:
        from .memory import run_memory_table

        return run_memory_table()
    if arguments.similarity:
        from .judged.similarity_table import run_similarity_table

        return run_similarity_table(arguments.similarity, arguments.clip, arguments.lpips, arguments.out)
    if arguments.edit:
        from .judged.edits import ALIGNMENTS, run_edits

        alignments = arguments.slider or ALIGNMENTS
        return run_edits(arguments.out, arguments.preset or "normal", arguments.meshes, arguments.processes, alignments)
    if not arguments.quality:
        from .bench import run_bench
        from .bench_objects import print_object_bench

        print_object_bench(run_bench(arguments.large), arguments.large)
        return 0
    methods, quality = arguments.method or list(METHODS), arguments.preset or "normal"
    if arguments.quality == "text-to-3d":
        from .judged.quality_objects import run_object_table as run_table
    else:
        from .judged.quality_textures import run_texture_table as run_table
    settings = {"encoder": arguments.encoder}
    if arguments.control:
        settings |= {"control": arguments.control}
        settings |= {} if is_off(arguments.control) else {"control_strength": arguments.strength}
    settings |= {} if arguments.warm is None else {"warm_start": arguments.warm}
    return run_table(arguments.out, methods, arguments.meshes, quality, arguments.processes, settings)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    open_streams()
    sys.exit(main(sys.argv[1:]))
