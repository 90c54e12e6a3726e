"""The extension inside Blender, for our scripts: install it as a person does, reach its modules, leave Blender well.

Lines that begin with ``@`` are messages to build.py; everything else that Blender says goes to the log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import bpy  # isort: skip - addon_utils is there only after bpy
import addon_utils

from tools.blender_profile import MODULE


class Sentence(Exception):
    """Ends a script; its text is for the person."""


def tell(kind: str, **body) -> None:
    """One message to build.py."""
    print("@" + json.dumps({"kind": kind, **body}), flush=True)


def addon(name: str):
    """A module of the extension's addon room, under the name that Blender gives it: ``addon("session")``."""
    return importlib.import_module(f"{MODULE}.addon.{name}")


def preferences():
    """The extension's preferences."""
    return bpy.context.preferences.addons[MODULE].preferences


def install(zip_path: str, data_folder: str, backend_python: str) -> None:
    """Install and switch on, by the operator behind *Install from Disk*."""
    bpy.ops.extensions.package_install_files(
        filepath=zip_path, repo="user_default", enable_on_install=True, overwrite=True
    )
    switched_on(data_folder, backend_python)


def enable(data_folder: str, backend_python: str) -> None:
    """Switch on what lies in the profile already; the profile's preferences are not saved."""
    bpy.context.preferences.use_preferences_save = False
    bpy.ops.preferences.addon_enable(module=MODULE)
    switched_on(data_folder, backend_python)


def switched_on(data_folder: str, backend_python: str) -> None:
    if addon_utils.check(MODULE) != (True, True):
        raise Sentence("Blender could not switch the extension on.")
    preferences().data_folder = data_folder
    preferences().backend_python = backend_python


def disable() -> None:
    """Switched off, the extension ends its backend and takes its timers and handlers back."""
    addon_utils.disable(MODULE)


def leave(status: int) -> None:
    """Switch the extension off and end the process: Blender as a module can hang while the interpreter winds down."""
    try:
        disable()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_plan(work: Callable[[dict], None]) -> None:
    """Do ``work`` with the plan (JSON) named on the command line, tell how it ended, and end the process."""
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    status = 1
    try:
        work(json.loads(Path(arguments[0]).read_text("utf-8")))
        status = 0
    except Sentence as error:
        tell("error", text=str(error))
    except Exception:
        traceback.print_exc()
        tell("error", text="something went wrong inside Blender.", log=True)
    leave(status)
