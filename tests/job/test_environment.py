"""The installer: whatever interrupts it, the next run works, and nothing half-made is ever taken for an environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.process.processes import HeldFile
from csd_blender.job.setup import environment
from csd_blender.job.setup.environment import ensure_environment, installed_python
from csd_blender.job.setup.package_tools import Installer
from tests.support.client_kit import ENDLESS
from tests.support.tiny_wheels import make_lock, make_wheel

ROOT = Path(__file__).resolve().parents[2]

# A stand-in for uv: makes an environment without pip in a moment; installs by unzipping. Where it shall wait, it does
# so until there is a file "go" among the wheels, and holds the file "alive" as long as it lives.
FAKE_UV = f"""
import pathlib, sys, time, venv, zipfile
sys.path.insert(0, {str(ROOT)!r})
kind, inside, lock, wheels, waits = sys.argv[1:6]
if kind == "make":
    venv.create(inside, with_pip=False, symlinks=True)
    sys.exit()
if waits:
    from csd_blender.job.process.processes import HeldFile
    held = HeldFile(pathlib.Path(wheels, "alive"), "")
    held.__enter__()
    pathlib.Path(wheels, "installing").touch()
    while not pathlib.Path(wheels, "go").exists():
        time.sleep(0.02)
site = next(pathlib.Path(inside).parent.parent.glob("lib/python*/site-packages"))
for line in open(lock):
    pin = line.partition(" ")[0].strip()
    if pin and line[0] != "#":
        wheel = pathlib.Path(wheels, pin.replace("==", "-") + "-py3-none-any.whl")
        if not wheel.exists():
            sys.exit(f"error: {{pin}} was not found")
        zipfile.ZipFile(wheel).extractall(site)
"""


class FakeInstaller(Installer):
    waits = ""
    wheels = Path()
    script = Path()

    def make_environment(self, python, folder):
        return [sys.executable, "-I", str(self.script), "make", str(folder), "-", "-", ""]

    def install(self, inside, lock, build, wheel_dir):
        arguments = [inside, lock.path, self.wheels, self.waits]
        return [sys.executable, "-I", str(self.script), "fill", *map(str, arguments)]


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "tinyone", "value = 1\n")
    make_wheel(folder, "tinytwo", "value = 2\n")
    make_wheel(folder, "brokenone", "raise ImportError('a library of the system is missing')\n")
    yield folder
    (folder / "go").touch()  # whoever still waits, as an installer that nobody ended


@pytest.fixture
def quick(monkeypatch, tmp_path, wheels):
    """Installs with the stand-in; the value is its class, for tests that want it to wait."""
    script = tmp_path / "fake_uv.py"
    script.write_text(FAKE_UV)
    installer = type("Quick", (FakeInstaller,), {"script": script, "wheels": wheels})
    monkeypatch.setattr(environment, "find_installer", lambda *_: installer(Path("uv"), None))
    monkeypatch.setattr(environment, "can_use_pip", lambda _: False)
    return installer


def failure(*arguments, **named) -> JobError:
    with pytest.raises(JobError) as caught:
        ensure_environment(*arguments, **named)
    return caught.value


def until(holds) -> None:
    end = time.monotonic() + ENDLESS
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def has_ended(wheels: Path) -> bool:
    """Whether the installer that waited is gone, however it ended."""
    try:
        with HeldFile(wheels / "alive", ""):
            return True
    except JobError:
        return False


def environments(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and p.name.startswith("tiny-"))


def imports(python: Path, module: str) -> bool:
    return subprocess.run([str(python), "-I", "-c", f"import {module}"], capture_output=True).returncode == 0


def test_a_folder_of_wheels_is_enough_without_network_or_uv(tmp_path, wheels):
    """The real thing, by venv and pip."""
    probe = [sys.executable, "-I", "-c", "import ensurepip, venv"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this Python has no ensurepip")
    root, lock, seen = tmp_path / "my environments", make_lock(tmp_path, "# check: import tinyone", "tinyone==1.0"), []
    python = ensure_environment(root, lock, "tiny", wheel_dir=wheels, report=seen.append)
    assert imports(python, "tinyone") and installed_python(root, "tiny", lock) == python
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and all(p.text for p in seen)


def test_an_environment_that_stands_is_used_at_once(tmp_path, quick, monkeypatch):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    python = ensure_environment(root, lock, "tiny")
    monkeypatch.setattr(environment, "find_installer", lambda *_: pytest.fail("it was built again"))
    assert ensure_environment(root, lock, "tiny") == python


def test_a_damaged_environment_is_made_anew_when_set_up_again(tmp_path, quick):
    root, lock = tmp_path / "root", make_lock(tmp_path, "# check: import tinyone", "tinyone==1.0")
    python = ensure_environment(root, lock, "tiny", verify=True)
    for place in list(python.parent.parent.rglob("tinyone*")):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert not imports(python, "tinyone") and ensure_environment(root, lock, "tiny") == python
    assert ensure_environment(root, lock, "tiny", verify=True) == python and imports(python, "tinyone")


def test_a_missing_file_that_no_import_needs_is_found_when_set_up_again(tmp_path, quick, wheels):
    make_wheel(wheels, "tinytwo", "value = 2\n")
    root, lock = tmp_path / "root", make_lock(tmp_path, "# check: import tinyone", "tinyone==1.0", "tinytwo==1.0")
    python = ensure_environment(root, lock, "tiny")
    seen = []
    ensure_environment(root, lock, "tiny", verify=True, report=seen.append)
    assert not any("Making" in p.text for p in seen), "a sound one was made anew"
    for place in python.parent.parent.rglob("tinytwo.py"):
        place.unlink()
    assert ensure_environment(root, lock, "tiny", verify=True) == python and imports(python, "tinytwo")


def test_a_half_made_environment_is_not_found_and_made_anew(tmp_path, quick):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    python = ensure_environment(root, lock, "tiny")
    (python.parent.parent / environment.MARKER).unlink()
    (python.parent.parent / "rest of the last one").touch()
    assert installed_python(root, "tiny", lock) is None
    assert ensure_environment(root, lock, "tiny") == python and imports(python, "tinyone")
    assert not (python.parent.parent / "rest of the last one").exists()


def test_a_new_lock_builds_beside_the_old_environment_which_goes_last(tmp_path, quick):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    old = ensure_environment(root, lock, "tiny")
    make_lock(tmp_path, "tinyone==1.0", "nothere==1.0")
    error = failure(root, lock, "tiny")
    assert error.code == "setup_failed" and "nothere==1.0" in error.detail
    assert environments(root) == [old.parent.parent.name]
    make_lock(tmp_path, "tinyone==1.0", "tinytwo==1.0")
    assert installed_python(root, "tiny", lock) is None
    new = ensure_environment(root, lock, "tiny")
    assert environments(root) == [new.parent.parent.name] and new != old and imports(new, "tinytwo")


def test_what_does_not_run_is_not_kept(tmp_path, quick):
    root, lock = tmp_path / "root", make_lock(tmp_path, "# check: import brokenone", "brokenone==1.0")
    error = failure(root, lock, "tiny")
    assert error.code == "setup_failed" and "a library of the system is missing" in error.detail
    assert environments(root) == []


def test_pip_steps_in_where_uv_fails(tmp_path, quick, monkeypatch, wheels):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    failing = type("Failing", (quick,), {"install": lambda self, *_: [sys.executable, "-c", "exit('error: refused')"]})
    monkeypatch.setattr(environment, "find_installer", lambda *_: failing(Path("uv"), None))
    monkeypatch.setattr(environment, "can_use_pip", lambda _: True)
    monkeypatch.setattr(environment, "Installer", lambda uv, env: quick(uv, None))
    assert imports(ensure_environment(root, lock, "tiny"), "tinyone")


def test_cancel_ends_the_installer_and_leaves_nothing_half_made(tmp_path, quick, wheels):
    quick.waits = "yes"
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    error = failure(root, lock, "tiny", cancelled=(wheels / "installing").exists)
    assert error.code == "cancelled" and environments(root) == []
    assert has_ended(wheels), "the installer went on"
    quick.waits = ""
    assert imports(ensure_environment(root, lock, "tiny"), "tinyone")


KILLED = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import test_environment as t
from pathlib import Path
installer = type("Slow", (t.FakeInstaller,), dict(script=Path({script!r}), wheels=Path({wheels!r}), waits="yes"))
t.environment.find_installer = lambda *_: installer(Path("uv"), None)
t.ensure_environment({target!r}, {lock!r}, "tiny")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_in_the_middle_it_leaves_nothing_running_and_the_next_run_works(tmp_path, quick, wheels):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    code = KILLED.format(
        root=str(ROOT), tests=str(Path(__file__).parent), script=str(quick.script), wheels=str(wheels),
        target=str(root), lock=str(lock),
    )  # fmt: skip
    child = subprocess.Popen([sys.executable, "-c", code])
    until((wheels / "installing").exists)
    assert not has_ended(wheels)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert environments(root) and installed_python(root, "tiny", lock) is None
    python = ensure_environment(root, lock, "tiny")
    assert imports(python, "tinyone")
    until(lambda: has_ended(wheels))  # the first run's installer, which would wait for ever


def test_two_at_once_do_not_disturb_each_other(tmp_path, quick, wheels):
    quick.waits = "yes"
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    first = threading.Thread(target=ensure_environment, args=(root, lock, "tiny"))
    first.start()
    until((wheels / "installing").exists)
    assert failure(root, lock, "tiny").code == "busy"
    (wheels / "go").touch()
    first.join()
    assert imports(installed_python(root, "tiny", lock), "tinyone")


def test_the_lock_file_of_a_crashed_run_hinders_nobody(tmp_path, quick):
    root, lock = tmp_path / "root", make_lock(tmp_path, "tinyone==1.0")
    root.mkdir()
    (root / "tiny.lock").write_text("1")  # the number of a process that lives
    assert imports(ensure_environment(root, lock, "tiny"), "tinyone")


def test_a_full_disk_is_told_before_anything_is_downloaded(tmp_path, quick):
    lock = tmp_path / "huge.txt"
    lock.write_text("# size-mb: 999999999\ntinyone==1.0\n")
    error = failure(tmp_path / "root", lock, "tiny")
    assert error.code == "no_space" and "MB are needed" in error.detail


def test_set_up_as_a_child_tells_json_and_stops_when_its_owner_lets_go(tmp_path):
    launch = ROOT / "csd_blender" / "launch.py"
    command = [sys.executable, "-I", "-u", str(launch), "setup", "--root", str(tmp_path / "root")]
    (tmp_path / "empty").mkdir()
    child = subprocess.Popen(
        [*command, "--wheels", str(tmp_path / "empty")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    first = json.loads(child.stdout.readline())
    assert first["type"] == "progress" and 0 <= first["fraction"] <= 1 and first["text"]
    child.stdin.close()
    last = [json.loads(line) for line in child.stdout][-1]
    assert child.wait(30) == 1 and last["type"] == "error"
    assert last["code"] == "cancelled" and last["text"] and last["fix"]
    assert not list((tmp_path / "root").glob("backend-*/"))
