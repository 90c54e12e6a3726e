"""`build.py demo`: a bundled mesh, textured through the extension in headless Blender, and filmed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from . import environments, package, system_libraries
from .paths import BUILD, ROOT, child_environment, fail, shown
from .status_line import StatusLine, clock

SCRIPT = ROOT / "tools" / "demo_blender.py"
MESH = "robot"
PROMPT = "a rusty robot head"
FILM = {"frames": 24, "frames_per_second": 12, "size": 320, "samples": 6}
SECONDS_A_FRAME = 1.5  # a first guess, until the first frame is there
LIMIT = 60 * 60


def run(options: argparse.Namespace) -> int:
    line = StatusLine()
    if options.mesh and not options.mesh.is_file():
        fail(f"there is no file {options.mesh}")
    backend = environments.ensure("backend", line, options.wheels)
    if options.blender:
        blender = find_blender(options.blender)
        tool = package.ExtensionTool.from_blender(blender)
        command = [str(blender), "--background", "--factory-startup", "--python", str(SCRIPT), "--"]
    else:
        python = environments.ensure("bpy", line, options.wheels)
        trouble = system_libraries.ensure_libraries(line.say)
        if trouble:
            fail(trouble)
        tool = package.ExtensionTool.from_module(python)
        command = [str(python), "-I", "-u", str(SCRIPT)]
    started = time.monotonic()
    line.update("Building the extension")
    scratch = BUILD / "demo"
    frame_folder = scratch / "frames"
    frame_folder.mkdir(parents=True, exist_ok=True)
    for old in frame_folder.glob("*.png"):
        old.unlink()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    mesh = options.mesh.resolve() if options.mesh else bundled_mesh(backend, scratch / f"{MESH}.obj")
    plan = {
        "zip": str(package.build_zip(tool, scratch)),
        # .build/environments is where this data folder keeps its backend: the extension finds it by itself
        "data_folder": str(BUILD),
        "backend_python": os.environ.get("CSD_BACKEND_PYTHON", ""),
        "mesh": str(mesh),
        "bundled": options.mesh is None,
        "prompt": options.prompt or PROMPT,
        "quality": options.quality,
        "seed": options.seed,
        "out": str(out),
        "frame_folder": str(frame_folder),
        "seconds_a_frame": SECONDS_A_FRAME,
        **FILM,
    }
    plan_path = scratch / "plan.json"
    plan_path.write_text(json.dumps(plan, indent=1), "utf-8")
    line.say(f"“{plan['prompt']}” on {mesh.name if options.mesh else 'the bundled ' + MESH}, seed {options.seed}")
    done = follow([*command, str(plan_path)], scratch, line)
    line.clear()
    if "error" in done:
        fail(done["error"])
    tell_result(done, out, time.monotonic() - started)
    return 0


def find_blender(path: Path) -> Path:
    if path.is_dir():  # an unpacked download, or Blender.app
        inside = [path / "blender", path / "blender.exe", path / "Contents/MacOS/Blender"]
        path = next((p for p in inside if p.is_file()), path)
    if not path.is_file():
        fail(f"there is no Blender at {path}")
    return path.resolve()


def bundled_mesh(backend: Path, path: Path) -> Path:
    script = ROOT / "tools" / "export_demo_mesh.py"
    environment = child_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run([str(backend), str(script), MESH, str(path)], env=environment, capture_output=True, text=True)
    if done.returncode:
        fail("the bundled mesh could not be made: " + (done.stderr.strip().splitlines() or ["?"])[-1])
    return path


def follow(command: list[str], scratch: Path, line: StatusLine) -> dict:
    """Run Blender in a profile of its own and show what it tells; returns its last message, or {"error": ...}."""
    log_path = scratch / "blender.log"
    environment = child_environment(BLENDER_USER_RESOURCES=str(scratch / "profile"))
    posix = os.name == "posix"
    films = FILM["frames"] * SECONDS_A_FRAME
    last: dict = {}
    with open(log_path, "wb") as log:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
        child = subprocess.Popen(command, env=environment, start_new_session=posix, **pipes)
        try:
            for raw in child.stdout:
                if not raw.startswith(b"@"):
                    log.write(raw)
                    log.flush()
                    continue
                last = json.loads(raw[1:])
                if last["kind"] == "progress":
                    left = last.get("seconds_left")
                    if left is not None and last.get("films_follow"):
                        left += films
                    line.update(last["text"], last.get("fraction"), left)
                elif last["kind"] == "warning":
                    line.say(f"Note: {last['text']}")
            status = child.wait()
        finally:
            if child.poll() is None:
                end(child, posix)
    if last.get("kind") == "error":
        where = f" The log is {shown(log_path)}" if last.get("log") else ""
        return {"error": last["text"] + where}
    if last.get("kind") != "done":
        return {"error": f"Blender ended before its time (status {status}). The log is {shown(log_path)}"}
    return last


def end(child: subprocess.Popen, posix: bool) -> None:
    """On Ctrl+C: ask Blender to stop, then make it; the backend leaves when its Blender is gone."""
    if posix:
        os.killpg(child.pid, signal.SIGTERM)
    else:
        child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def tell_result(done: dict, out: Path, seconds: float) -> None:
    times = done["times"]
    print(f"Done in {clock(seconds)}: texture {clock(times['texture'])}, films {clock(times['film'])}.")
    print(f"Everything lies in {shown(out)}{os.sep}")
    rows = [(done["blend"], f"open it in Blender {done['blender']} or later; the texture is packed in")]
    rows += [(path, "the texture") for path in done["textures"]]
    rows.append((done["sheet"], "eight sides at a glance"))
    if done["film"]:
        rows.append((done["film"], "one turn, twice"))
    width = max(len(Path(path).name) for path, _ in rows)
    for path, words in rows:
        print(f"  {Path(path).name:{width}}  {words}")
