#!/usr/bin/env python3
"""The one entry for people: see it work, test it, package it, use it from a shell.

    python3 build.py demo      textures a mesh in headless Blender and films it
    python3 build.py test      runs everything that continuous integration runs
    python3 build.py --help    lists the rest

Needs Python 3.9 or later and nothing else. What it makes lies below .build/ and may be deleted at any time;
interrupting and repeating any command is safe.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 9):  # noqa: UP036
    sys.exit("Error: build.py needs Python 3.9 or later; this is " + sys.version.split()[0])

from tools import environments, paths  # noqa: E402
from tools.status_line import StatusLine  # noqa: E402


def main() -> int:
    arguments, rest = parse(sys.argv[1:])
    try:
        return arguments.run(arguments, rest)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on.", file=sys.stderr)
        return 130


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="build.py", description="CSD for Blender: see it, test it, package it.")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="make environments from wheels here, no network")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, passes_on: bool = False) -> argparse.ArgumentParser:
        # what is passed on may contain --help, which then belongs to the other program
        made = commands.add_parser(name, help=text, description=text, add_help=not passes_on)
        made.set_defaults(run=run, passes_on=passes_on)
        return made

    demo = command("demo", run_demo, "texture a mesh, or make an object, in headless Blender and film it")
    demo.add_argument("--text", metavar="TEXT", help="make an object from this prompt, without a mesh")
    demo.add_argument("--subject", choices=("character", "object", "sparse"), default="object",
                      help="of --text; character: with a clear front")  # fmt: skip
    demo.add_argument("--mesh", type=Path, metavar="FILE", help="anything Blender imports; default: a bundled mesh")
    demo.add_argument("--prompt", metavar="TEXT", help="what the surface should look like")
    demo.add_argument("--quality", choices=("draft", "normal", "best"), help="default: normal, or draft with --text")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--out", type=Path, metavar="DIR", default=paths.ROOT / "demo", help="default: demo/")
    demo.add_argument("--blender", type=Path, metavar="PATH", help="a real Blender, 4.2 or later")

    gallery = command("gallery", run_gallery, "eight textures, or objects made from text, on one picture")
    gallery.add_argument("--objects", action="store_true", help="objects from text in place of textured meshes")
    gallery.add_argument("--quality", choices=("draft", "normal", "best"), default="normal")
    gallery.add_argument("--seed", type=int, default=0)
    gallery.add_argument("--out", type=Path, metavar="FILE", default=paths.ROOT / "demo" / "gallery.png")
    gallery.add_argument("--blender", type=Path, metavar="PATH", help="a real Blender, 4.2 or later")

    test = command("test", run_test, "everything that continuous integration runs")
    test.add_argument("--only", action="append", choices=("lint", "unit", "addon", "package", "end-to-end"))
    test.add_argument("--fuzz", type=at_least_one, metavar="N", help="cases of each fuzz test; default: 2000")
    test.add_argument("pytest_arguments", nargs="*", metavar="-- PYTEST ARGUMENT", help="for example: -- -k seams")

    command("csd", run_csd, "the backend's command line: texture, doctor, models ...", passes_on=True)
    command("bench", run_bench, "measure speed, memory and, with --quality, judged quality", passes_on=True)
    command("train-mini", run_train_mini, "train the bundled miniature diffusion model again", passes_on=True)
    command("doctor", run_doctor, "look over the environments and system libraries, and say what is amiss")
    package = command("package", run_package, "the validated extension zips and a repository index, in dist/")
    package.add_argument("--plain", action="store_true", help="only the zip without uv; needs no network")
    lock = command("lock", run_lock, "pin every package with its hashes again, and list their licences")
    lock.add_argument("--fresh", action="store_true", help="take the newest versions of what the packages need")
    blender = command("blender", run_blender, "open a real Blender with the extension, in a profile of its own")
    blender.add_argument("--blender", type=Path, metavar="PATH", help="default: the `blender` that the shell finds")

    arguments, rest = parser.parse_known_args(argv)
    if rest and not arguments.passes_on:
        parser.error(f"unknown argument {rest[0]}")
    return arguments, rest


def run_demo(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import demo

    return demo.run(arguments)


def run_gallery(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import gallery

    return gallery.run(arguments)


def run_test(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import test

    return test.run(arguments.only or [], arguments.wheels, arguments.pytest_arguments, arguments.fuzz)


def run_csd(arguments: argparse.Namespace, rest: list[str]) -> int:
    return in_backend(arguments, [str(paths.LAUNCH), *rest])


def run_bench(arguments: argparse.Namespace, rest: list[str]) -> int:
    from tools.commands import bench

    return bench.run(rest, arguments.wheels)


def run_train_mini(arguments: argparse.Namespace, rest: list[str]) -> int:
    from tools.commands import train_mini

    return train_mini.run(environments.ensure("backend", StatusLine(), arguments.wheels), rest)


def in_backend(arguments: argparse.Namespace, command: list[str]) -> int:
    """Run the backend's Python here, in the person's own folder; its exit status is build.py's."""
    python = environments.ensure("backend", StatusLine(sys.stderr), arguments.wheels)
    child = subprocess.Popen([str(python), *command], env=paths.child_environment())
    for name in ("SIGTERM", "SIGHUP"):  # sent to this program alone, and not to all of its terminal
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _frame: child.send_signal(number))
    while True:
        try:
            status = child.wait()
            return status if status >= 0 else 128 - status
        except KeyboardInterrupt:
            continue  # the child got it too and tidies up; its exit status tells


def run_doctor(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import doctor

    return doctor.run(arguments.wheels)


def run_package(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import package

    return package.run(arguments.plain, arguments.wheels)


def run_lock(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import lock

    return lock.run(arguments.fresh)


def run_blender(arguments: argparse.Namespace, _rest: list[str]) -> int:
    from tools.commands import blender

    return blender.run(arguments.blender, arguments.wheels)


if __name__ == "__main__":
    sys.exit(main())
