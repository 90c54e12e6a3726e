"""`build.py bench --window` measures where there is a Blender and a screen, and elsewhere says so and ends well."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tools.commands import bench, bench_window

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_environments(monkeypatch):
    """Nothing may be installed for a measurement that cannot be made."""

    def forbidden(*_args, **_settings):
        raise AssertionError("an environment was asked for")

    monkeypatch.setattr(bench_window.environments, "ensure", forbidden)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_blender_it_says_so(no_environments, monkeypatch, capsys):
    monkeypatch.setattr(bench_window.shutil, "which", lambda _name: None)
    assert bench.run(["--window"], None) == 0
    assert "no Blender was found" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a screen")
def test_without_a_screen_it_says_so(no_environments, monkeypatch, capsys):
    monkeypatch.setattr(bench_window.shutil, "which", lambda name: None if name == "Xvfb" else f"/usr/bin/{name}")
    assert bench.run(["--window", "--blender", "blender"], None) == 0
    assert "no screen" in capsys.readouterr().out


def test_gaps_are_told_by_their_middle_their_tail_and_the_share_of_the_time(monkeypatch):
    for name in ("bpy", "tools.in_blender.extension", "tools.in_blender.window"):
        monkeypatch.setitem(sys.modules, name, Stand())
    spec = importlib.util.spec_from_file_location("window_gaps", ROOT / "tools" / "in_blender" / "window_gaps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ticks[:] = [0.0, 0.01, 0.02, 0.03, 0.13]  # three of 10 ms and one of 100 ms
    row = module.gaps()
    assert (row["median"], row["worst"], row["count"]) == (10.0, 100.0, 4)
    assert row["above_50"] == pytest.approx(100 / 130, abs=1e-4)
    assert module.gaps()["count"] == 0, "each row starts anew"
    lines = bench_window.table({"blender": "9.9", "rows": {"a job": row}}).splitlines()
    assert lines[-1].split() == ["a", "job", "10.0", "100.0", "100.0", "76.9%"]


class Stand:
    """Stands in for bpy: takes everything."""

    def __getattr__(self, _name):
        return Stand()

    def __call__(self, *_args, **_settings):
        return None
