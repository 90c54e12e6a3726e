"""`build.py bench --window`: how long a job holds up the window of a real Blender, and nothing else.

A 10 ms timer ticks in Blender's event loop while a texture job runs; whatever holds up the loop (our own work, the
redraws that follow a picture, the backend on the same processor) shows as a gap between two ticks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import environments, extension_zip
from ..blender_profile import extension_folder
from ..paths import IN_BLENDER, child_environment
from ..status_line import StatusLine

LIMIT = 1200
SIZE = (1280, 800)


def run(options: Sequence[str], wheels: Path | None) -> int:
    """Measure and print; where there is no Blender or no screen, say so and end well."""
    parser = argparse.ArgumentParser(prog="build.py bench --window", description=__doc__.splitlines()[0])
    parser.add_argument("--blender", help="default: the `blender` that the shell finds")
    parser.add_argument("--steps", type=int, default=60, help="of the job; more for steadier figures")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    arguments = parser.parse_args([o for o in options if o != "--window"])
    blender = shutil.which(arguments.blender or "blender")
    if blender is None:
        print("The window was not measured: no Blender was found (name one with --blender PATH).")
        return 0
    with tempfile.TemporaryDirectory(prefix="csd-window-") as folder, screen(Path(folder)) as display:
        if display is None:
            print("The window was not measured: there is no screen here, and no Xvfb to stand in for one.")
            return 0
        python = environments.ensure("backend", StatusLine(sys.stderr), wheels)
        told = measure(blender, python, Path(folder), display, arguments.steps)
    if told is None:
        return 1
    print(json.dumps(told) if arguments.json else table(told))
    return 0


@contextmanager
def screen(folder: Path) -> Iterator[dict | None]:
    """Variables that show a program the screen: the person's own, else one in memory; None when there is neither."""
    if os.name == "nt" or sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield {}
        return
    server = shutil.which("Xvfb")
    if server is None:
        yield None
        return
    read, write = os.pipe()
    command = [server, "-displayfd", str(write), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"]
    with open(folder / "xvfb.log", "wb") as log:
        child = subprocess.Popen(command, pass_fds=[write], stdout=log, stderr=log)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()  # empty when the server could not start
        yield {"DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1"} if number else None
    finally:
        child.terminate()
        child.wait()


def measure(blender: str, python: Path, folder: Path, display: dict, steps: int) -> dict | None:
    """What ``window_gaps.py`` found inside Blender, in a profile of its own; None, with a sentence, when it failed."""
    extension_zip.stage(extension_folder(folder / "profile"))
    result = folder / "gaps.json"
    environment = child_environment(
        BLENDER_USER_RESOURCES=str(folder / "profile"),
        XDG_RUNTIME_DIR=str(folder),
        CSD_BACKEND_PYTHON=str(python),
        CSD_DATA_FOLDER=str(folder / "data"),
        CSD_STEPS=str(steps),
        CSD_GAPS=str(result),
        **display,
    )
    software = ["--gpu-backend", "opengl"] if display else []
    command = [blender, "--factory-startup", *software, "-p", "0", "0", str(SIZE[0]), str(SIZE[1])]
    command += ["--python-exit-code", "1", "-P", str(IN_BLENDER / "window_gaps.py")]
    began = time.monotonic()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        print(f"Blender's window did not answer within {LIMIT} s.")
        return None
    if not result.is_file():
        said = (done.stderr + done.stdout).strip().splitlines()
        print("Blender's window could not be measured:", said[-1] if said else "it said nothing")
        return None
    return json.loads(result.read_text()) | {"seconds": round(time.monotonic() - began)}


def table(told: dict) -> str:
    lines = [
        f"\nBlender {told['blender']}'s window while a texture is made: milliseconds between ticks of a 10 ms timer",
        f"{'':34} {'median':>8} {'95 %':>8} {'worst':>8} {'above 50 ms':>12}",
    ]
    for name, row in told["rows"].items():
        share = f"{row['above_50']:.1%}"
        lines.append(f"{name:34} {row['median']:8.1f} {row['p95']:8.1f} {row['worst']:8.1f} {share:>12}")
    return "\n".join(lines)
