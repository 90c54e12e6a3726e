"""`build.py bench`: the backend's own tables, and how long the extension holds Blender's main thread."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .. import environments, system_libraries
from ..paths import IN_BLENDER, ROOT, child_environment
from ..status_line import StatusLine
from . import bench_window

LIMIT = 300
#: Tables that come without Blender's part.
ALONE = {
    "--quality",
    "--similarity",
    "--edit",
    "--methods",
    "--sheet",
    "--diversity",
    "--janus",
    "--after-picture",
    "--pictures",
    "--alignment",
    "--patterns",
    "--encoders",
    "--frontier",
    "--guidance",
    "--memory",
    "-h",
    "--help",
}
FOLDERS = ("--out", "--nvdiffrast")


def run(options: Sequence[str], wheels: Path | None) -> int:
    """``options`` go to the backend; its judged tables and comparisons come without Blender's part.

    ``--window`` measures a real Blender's window, and ``--cuda`` a graphics card, and nothing else.
    """
    if "--window" in options:
        return bench_window.run(options, wheels)
    line = StatusLine()
    if "--cuda" in options:
        return on_a_card([option for option in options if option != "--cuda"], line, wheels)
    backend = environments.ensure("backend", line, wheels)
    status = subprocess.call([str(backend), "-m", "tools.lab", *options], env=child_environment(PYTHONPATH=str(ROOT)))
    if status or ALONE & {option.partition("=")[0] for option in options}:
        return status
    bpy = environments.ensure("bpy", line, wheels)
    trouble = system_libraries.ensure_libraries(line.say)
    if trouble:
        line.say(trouble)
        return 1
    return pump_table(bpy)


def on_a_card(options: Sequence[str], line: StatusLine, wheels: Path | None) -> int:
    """What only a graphics card can show, in the backend's Python with pytest lent to it."""
    backend = environments.ensure("backend", line, wheels)
    lent = environments.with_check_tools(environments.ensure("check", line, wheels))
    command = [str(backend), "-m", "tools.lab.cuda", *placed(options)]
    return subprocess.call(command, cwd=ROOT, env=lent)


def placed(options: Sequence[str]) -> list[str]:
    """The same, with the folders of ``--out`` and ``--nvdiffrast`` as they are seen from where the person stands."""
    made, before = [], ""
    for option in options:
        name, equals, value = option.partition("=")
        if before in FOLDERS:
            option = str(Path(option).absolute())
        elif equals and name in FOLDERS:
            option = f"{name}={Path(value).absolute()}"
        made.append(option)
        before = option
    return made


def pump_table(bpy: Path) -> int:
    command = [str(bpy), str(IN_BLENDER / "bench_pump.py")]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=LIMIT)
    rows = [text for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not rows:
        print("Blender's part failed:", (done.stderr.strip().splitlines() or ["no reason was given"])[-1])
        return 1
    told = json.loads(rows[-1])
    limits = told["limits_ms"]
    print("\nBlender's main thread, milliseconds a tick while a texture of this size grows on 100,000 faces")
    print(f"{'':12} {'tick, median':>13} {'worst':>8} {'with a picture':>15} {'worst':>8} {'first picture':>14}")
    for size, row in told["measured_ms"].items():
        tick, picture = row["tick"], row["picture"]
        numbers = f"{tick['median']:13.2f} {tick['worst']:8.2f} {picture['median']:15.2f} {picture['worst']:8.2f}"
        print(f"{size + ' px':12} {numbers} {row['first_picture']:14.2f}")
    print(f"{'budget':12} {limits['tick']:13.2f} {'':8} {limits['picture']:15.2f}")
    return 0
