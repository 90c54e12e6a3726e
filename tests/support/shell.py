"""The command line in this process."""

from __future__ import annotations

import contextlib
import io

from csd_blender.backend.cli import main


def answer(*arguments: str) -> tuple[int, str]:
    """Exit status, and what was said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        return main.main(arguments), said.getvalue()
