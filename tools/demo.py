"""`build.py demo`: a bundled mesh, textured through the extension in headless Blender, and filmed; or with `--text` an
object made from a prompt alone."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import environments, package, system_libraries
from .paths import BUILD, ROOT, child_environment, fail, shown
from .status_line import StatusLine, clock

SCRATCH = BUILD / "demo"
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
    done = follow(stage.command("demo_blender.py"), plan, line)
    tell_result(done, out, time.monotonic() - started, "object" if options.text else "texture")
    return 0


@dataclass(frozen=True)
class Stage:
    """A Blender ready to run one of our scripts, and what every script's plan begins with."""

    backend: Path
    blender: Path
    is_module: bool
    plan: dict

    def command(self, script: str) -> list[str]:
        path = str(ROOT / "tools" / script)
        if self.is_module:
            return [str(self.blender), "-I", "-u", path]
        return [str(self.blender), "--background", "--factory-startup", "--python", path, "--"]


def prepare(real_blender: Path | None, wheels: Path | None, line: StatusLine) -> Stage:
    """Make the environments where they do not stand yet, and build the extension's zip."""
    backend = environments.ensure("backend", line, wheels)
    if real_blender:
        blender = find_blender(real_blender)
        tool = package.ExtensionTool.from_blender(blender)
    else:
        blender = environments.ensure("bpy", line, wheels)
        trouble = system_libraries.ensure_libraries(line.say)
        if trouble:
            fail(trouble)
        tool = package.ExtensionTool.from_module(blender)
    line.update("Building the extension")
    plan = {
        "zip": str(package.build_zip(tool, SCRATCH)),
        # .build/environments is where this data folder keeps its backend: the extension finds it by itself
        "data_folder": str(BUILD),
        "backend_python": os.environ.get("CSD_BACKEND_PYTHON", ""),
    }
    return Stage(backend, blender, real_blender is None, plan)


def find_blender(path: Path) -> Path:
    if path.is_dir():  # an unpacked download, or Blender.app
        inside = [path / "blender", path / "blender.exe", path / "Contents/MacOS/Blender"]
        path = next((p for p in inside if p.is_file()), path)
    if not path.is_file():
        fail(f"there is no Blender at {path}")
    return path.resolve()


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


def follow(command: list[str], plan: dict, line: StatusLine) -> dict:
    """Run Blender in a profile of its own and show what it tells; returns its last message, or ends build.py."""
    plan_path = SCRATCH / "plan.json"
    plan_path.write_text(json.dumps(plan, indent=1), "utf-8")
    log_path = SCRATCH / "blender.log"
    environment = child_environment(BLENDER_USER_RESOURCES=str(SCRATCH / "profile"))
    posix = os.name == "posix"
    films = FILM["frames"] * SECONDS_A_FRAME
    last: dict = {}
    with open(log_path, "wb") as log:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
        child = subprocess.Popen([*command, str(plan_path)], env=environment, start_new_session=posix, **pipes)
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
    line.clear()
    if last.get("kind") == "error":
        fail(last["text"] + (f" The log is {shown(log_path)}" if last.get("log") else ""))
    if last.get("kind") != "done":
        fail(f"Blender ended before its time (status {status}). The log is {shown(log_path)}")
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
