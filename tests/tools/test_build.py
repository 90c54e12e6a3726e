"""The front door and its small helpers."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import build as front_door
from tools import extension_zip, paths, system_libraries
from tools.commands import package
from tools.commands import test as check
from tools.status_line import StatusLine, clock

ROOT = Path(__file__).resolve().parents[2]


def build(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "build.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_help_names_every_command():
    said = build("--help").stdout
    for name in ("demo", "test", "csd", "package", "bench", "train-mini", "doctor", "blender"):
        assert f"\n    {name} " in said


def test_an_unknown_argument_is_refused_before_anything_is_made():
    done = build("package", "--colour")
    assert done.returncode == 2 and "--colour" in done.stderr


def test_the_number_of_fuzz_cases_reaches_the_tests(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(check.environments, "ensure", lambda name, *_: tmp_path / name)
    monkeypatch.setattr(check.environments, "with_check_tools", lambda _check, **lent: dict(lent))
    monkeypatch.setattr(check, "REPORTS", tmp_path)
    monkeypatch.setattr(check, "run_pytest", lambda name, command, limit, lent, totals: seen.append(lent))
    for arguments in (["test", "--only", "unit", "--fuzz", "7"], ["test", "--only", "unit"]):
        parsed, rest = front_door.parse(arguments)
        parsed.run(parsed, rest)
    assert [lent.get("CSD_FUZZ") for lent in seen] == ["7", None]


@pytest.mark.parametrize("number", ["0", "-3", "many", "1.5"])
def test_a_number_of_fuzz_cases_that_cannot_be_is_refused(number):
    done = build("test", "--fuzz", number)
    assert done.returncode == 2 and "--fuzz" in done.stderr and "Traceback" not in done.stderr


def test_a_missing_mesh_is_told_in_a_sentence():
    done = build("demo", "--mesh", "no/such/file.obj")
    assert done.returncode == 1
    assert "no/such/file.obj" in done.stderr.replace("\\", "/") and "Traceback" not in done.stderr


def test_clock_reads_like_a_clock():
    assert [clock(s) for s in (0, 65.2, 59.6, 3725, -3)] == ["0:00", "1:05", "1:00", "1:02:05", "0:00"]


def test_in_a_log_file_progress_is_a_line_now_and_then():
    log = io.StringIO()
    line = StatusLine(log)
    for step in range(1000):
        line.update(f"Painting, step {step}", step / 1000, 10.0)
    line.update("Baking")
    assert log.getvalue().splitlines() == ["Painting, step 0    0 %  0:10 left", "Baking"]


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_on_a_screen_progress_stays_on_one_line_and_leaves_no_trace():
    screen = Screen()
    line = StatusLine(screen)
    line.update("Painting", 0.5, 61)
    line.say("Done.")
    assert screen.getvalue() == "\r\x1b[KPainting   50 %  1:01 left\r\x1b[KDone.\n"


def test_every_library_has_the_package_that_brings_it():
    command = system_libraries.install_command(["libEGL.so.1", "libGL.so.1"])
    assert command[:2] == ["apt-get", "install"] and command[-2:] == ["libegl1", "libgl1"]


def test_missing_libraries_are_named_with_the_one_command_for_those_who_may_not_install(monkeypatch):
    monkeypatch.setattr(system_libraries, "missing_libraries", lambda: ["libEGL.so.1"])
    monkeypatch.setattr(system_libraries.shutil, "which", lambda name: "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    said = system_libraries.ensure_libraries()
    assert "libEGL.so.1" in said and said.endswith("sudo apt-get install -y --no-install-recommends libegl1")


def test_a_childs_python_sees_nothing_of_the_persons_own(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("PYTHONHOME", "elsewhere")
    made = paths.child_environment(MORE="1")
    assert "PYTHONPATH" not in made and "PYTHONHOME" not in made and made["MORE"] == "1"


def test_the_staged_extension_has_the_manifest_beside_the_package(tmp_path):
    staged = extension_zip.stage(tmp_path / "stage")
    assert (staged / "blender_manifest.toml").is_file() and (staged / "launch.py").is_file()
    assert not list(staged.rglob("__pycache__"))


def test_manifest_and_package_have_one_version():
    text = (paths.PACKAGE / "__init__.py").read_text("utf-8")
    assert f'__version__ = "{extension_zip.version()}"' in text


SUITE = '<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1">{cases}</testsuite></testsuites>'


def suite_runner(monkeypatch, tmp_path, report: str | None, status: int | None) -> check.Totals:
    monkeypatch.setattr(check, "REPORTS", tmp_path)

    def run(_command, _limit, _environment):
        if report is not None:
            (tmp_path / "unit.xml").write_text(report)
        return status

    monkeypatch.setattr(check, "run_with_limit", run)
    totals = check.Totals()
    check.run_pytest("unit", [], 60, {}, totals)
    return totals


def test_totals_add_up(monkeypatch, tmp_path):
    case = '<testcase classname="a" name="b"><failure/></testcase>'
    totals = suite_runner(monkeypatch, tmp_path, SUITE.format(cases=case), 1)
    assert totals.closing_line() == "2 passed, 2 failed, 1 skipped" and totals.troubles == ["a.b"]


@pytest.mark.parametrize("status", [-9, None, 3])
def test_a_suite_that_dies_counts_as_a_failure(monkeypatch, tmp_path, status):
    assert suite_runner(monkeypatch, tmp_path, None, status).failed == 1
    assert suite_runner(monkeypatch, tmp_path, '<testsuite tests="3"/>', status).failed == 1


def test_a_suite_without_tests_counts_as_a_failure(monkeypatch, tmp_path):
    assert suite_runner(monkeypatch, tmp_path, '<testsuite tests="0"/>', 5).failed == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_hanging_suite_is_ended_with_its_children(tmp_path):
    mark = tmp_path / "child"
    write = f"open({str(mark)!r}, 'w').write(str(p.pid))"
    code = f"import subprocess; p = subprocess.Popen(['sleep', '9999']); {write}; p.wait()"
    limit = 1
    while not mark.exists():  # on a loaded machine it does not even get that far within a short time
        limit *= 2
        assert check.run_with_limit([sys.executable, "-c", code], limit, dict(os.environ)) is None
    assert gone(int(mark.read_text()))


def gone(pid: int) -> bool:
    """Whether the process has ended, sooner or later; one that nobody has waited for yet counts as ended."""
    for _ in range(6000):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_only_a_wheel_of_uv_that_the_lock_knows_is_packed(monkeypatch, tmp_path):
    monkeypatch.setattr(package, "WHEELS", tmp_path)
    version, fetched = package.uv_program.version(), []
    for tag in package.SYSTEMS.values():
        (tmp_path / f"uv-{version}-py3-none-{tag}.whl").write_bytes(b"not uv")
    monkeypatch.setattr(package, "_fetch", fetched.append)
    assert package.uv_wheels() == [] and fetched == list(package.SYSTEMS.values())
    assert not list(tmp_path.glob("*.whl")), "a changed wheel was kept"


def test_a_wheel_of_uv_is_pinned_for_every_system_that_gets_a_zip():
    known = package.Lock.read(package.uv_program.LOCK)
    assert len(known.pins) == 1 and len(known.hashes) >= len(package.SYSTEMS)


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_ends_the_front_door_ends_the_backend(tmp_path, name):
    told = tmp_path / "told"
    child = f"""
import signal, sys, time
signal.signal(signal.{name}, lambda *_: (open({str(told)!r}, "w").write("told"), sys.exit(143)))
print("ready", flush=True)
time.sleep(60)
"""
    front = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import argparse, build
from pathlib import Path
build.environments.ensure = lambda *_: Path(sys.executable)
sys.exit(build.in_backend(argparse.Namespace(wheels=None), ["-c", {child!r}]))
"""
    running = subprocess.Popen([sys.executable, "-c", front], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(getattr(signal, name))
    assert running.wait(30) == 143 and told.read_text() == "told"
