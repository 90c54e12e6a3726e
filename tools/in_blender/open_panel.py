"""Run by `build.py blender` inside Blender's window: install the extension and open its tab in the sidebar."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.in_blender import extension, window  # noqa: E402


def steps():
    extension.install(os.environ["CSD_ZIP"], os.environ["CSD_DATA_FOLDER"], os.environ["CSD_BACKEND_PYTHON"])
    yield from window.show_tab()


window.drive(steps())
