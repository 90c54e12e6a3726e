"""A Blender to run our scripts in: found or made, started in a profile of its own, listened to until it ends.

A script tells how it goes in lines that begin with ``@``, see in_blender/extension.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import environments, system_libraries
from .extension_zip import ExtensionTool, build_zip
from .paths import BUILD, IN_BLENDER, child_environment, fail, shown
from .status_line import StatusLine

SCRATCH = BUILD / "demo"


@dataclass(frozen=True)
class Stage:
    """A Blender ready to run one of our scripts, and what every script's plan begins with."""

    backend: Path
    blender: Path
    is_module: bool
    plan: dict

    def command(self, script: str) -> list[str]:
        path = str(IN_BLENDER / script)
        if self.is_module:
            return [str(self.blender), "-I", "-u", path]
        return [str(self.blender), "--background", "--factory-startup", "--python", path, "--"]


def prepare(real_blender: Path | None, wheels: Path | None, line: StatusLine) -> Stage:
    """Make the environments where they do not stand yet, and build the extension's zip."""
    backend = environments.ensure("backend", line, wheels)
    if real_blender:
        blender = find_blender(real_blender)
        tool = ExtensionTool.from_blender(blender)
    else:
        blender = environments.ensure("bpy", line, wheels)
        trouble = system_libraries.ensure_libraries(line.say)
        if trouble:
            fail(trouble)
        tool = ExtensionTool.from_module(blender)
    line.update("Building the extension")
    plan = {
        "zip": str(build_zip(tool, SCRATCH)),
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


def follow(command: list[str], plan: dict, line: StatusLine, seconds_after: float = 0.0) -> dict:
    """Run Blender in a profile of its own and show what it tells; returns its last message, or ends build.py.

    ``seconds_after`` is what follows the stages that say so (``films_follow``), added to the time left.
    """
    plan_path = SCRATCH / "plan.json"
    plan_path.write_text(json.dumps(plan, indent=1), "utf-8")
    log_path = SCRATCH / "blender.log"
    environment = child_environment(BLENDER_USER_RESOURCES=str(SCRATCH / "profile"))
    posix = os.name == "posix"
    last: dict = {}
    with open(log_path, "wb") as log:
        child = subprocess.Popen(
            [*command, str(plan_path)],
            env=environment,
            start_new_session=posix,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert child.stdout is not None
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
                        left += seconds_after
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
