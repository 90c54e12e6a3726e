"""`build.py demo`: a bundled mesh, textured through the extension in headless Blender, and filmed; or with `--text` an
object made from a prompt alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path

from ..blender import SCRATCH, follow, prepare
from ..paths import ROOT, child_environment, fail, shown
from ..status_line import StatusLine, clock

MESH = "robot"
PROMPT = "a rusty robot head"
FILM = {"frames": 24, "frames_per_second": 12, "size": 320, "samples": 6}
SECONDS_A_FRAME = 1.5  # a first guess, until the first frame is there


def run(options: argparse.Namespace) -> int:
    line = StatusLine()
    if options.text and (options.mesh or options.prompt):
        fail("--text makes an object of its own; leave --mesh and --prompt out")
    if options.mesh and not options.mesh.is_file():
        fail(f"there is no file {options.mesh}")
    stage = prepare(options.blender, options.wheels, line)
    started = time.monotonic()
    frame_folder = SCRATCH / "frames"
    frame_folder.mkdir(parents=True, exist_ok=True)
    for old in frame_folder.glob("*.png"):
        old.unlink()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    mesh = options.mesh.resolve() if options.mesh else bundled_mesh(stage.backend, MESH)
    plan = {
        **stage.plan,
        "mesh": str(mesh),
        "bundled": options.mesh is None,
        "make_object": bool(options.text),
        "subject": options.subject,
        "prompt": options.text or options.prompt or PROMPT,
        "quality": options.quality or ("draft" if options.text else "normal"),
        "seed": options.seed,
        "out": str(out),
        "frame_folder": str(frame_folder),
        "seconds_a_frame": SECONDS_A_FRAME,
        **FILM,
    }
    place = "in an empty scene" if options.text else f"on {mesh.name if options.mesh else 'the bundled ' + MESH}"
    line.say(f"“{plan['prompt']}” {place}, seed {options.seed}")
    done = follow(stage.command("demo.py"), plan, line, FILM["frames"] * SECONDS_A_FRAME)
    tell_result(done, out, time.monotonic() - started, "object" if options.text else "texture")
    return 0


def bundled_mesh(backend: Path, name: str) -> Path:
    path = SCRATCH / f"{name}.obj"
    environment = child_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [str(backend), "-m", "tools.lab.export_demo_mesh", name, str(path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        fail("the bundled mesh could not be made: " + (done.stderr.strip().splitlines() or ["?"])[-1])
    return path


def tell_result(done: dict, out: Path, seconds: float, made: str) -> None:
    times = done["times"]
    print(f"Done in {clock(seconds)}: {made} {clock(times['texture'])}, films {clock(times['film'])}.")
    print(f"Everything lies in {shown(out)}{os.sep}")
    rows = [(done["blend"], f"open it in Blender {done['blender']} or later; the texture is packed in")]
    rows += [(path, "the texture") for path in done["textures"]]
    rows.append((done["sheet"], "eight sides at a glance"))
    if done["film"]:
        rows.append((done["film"], "one turn, twice"))
    width = max(len(Path(path).name) for path, _ in rows)
    for path, words in rows:
        print(f"  {Path(path).name:{width}}  {words}")
