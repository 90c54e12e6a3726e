"""What several commands are tried with."""

from __future__ import annotations

from pathlib import Path

import pytest

from csd_blender.backend.cli import console


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that would have been run."""
    made = []
    monkeypatch.setattr(console, "run_on_console", lambda folder, resume, refused: made.append(folder.spec) or 0)
    return made


@pytest.fixture
def cube(tmp_path) -> Path:
    path = tmp_path / "cube.obj"
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    path.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(f"f {f}\n" for f in faces))
    return path
