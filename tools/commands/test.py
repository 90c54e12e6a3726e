"""`build.py test`: everything that continuous integration runs, with one closing line of totals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from .. import environments, extension_zip, system_libraries
from ..paths import BUILD, DIST, ROOT, shown
from ..status_line import StatusLine, clock
from . import package

REPORTS = BUILD / "test-reports"
STEPS = ("lint", "unit", "addon", "package", "end-to-end")


@dataclass
class Totals:
    """What has been counted so far, and what to repeat about the failures at the end."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    troubles: list[str] = field(default_factory=list)

    def check(self, ok: bool, trouble: str) -> None:
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            self.troubles.append(trouble)

    def closing_line(self) -> str:
        line = f"{self.passed} passed, {self.failed} failed"
        return f"{line}, {self.skipped} skipped" if self.skipped else line


def run(only: list[str], wheels: Path | None, pytest_arguments: list[str], fuzz: int | None = None) -> int:
    """Run the steps ``only``, or all. ``fuzz``: cases of each test that throws hostile data at a reader."""
    started = time.monotonic()
    steps = only or list(STEPS)
    line = StatusLine()
    totals = Totals()
    backend = environments.ensure("backend", line, wheels)
    check = environments.ensure("check", line, wheels)
    bpy: Path | None = None
    if set(steps) & {"addon", "package", "end-to-end"}:
        bpy = environments.ensure("bpy", line, wheels)
        missing = system_libraries.ensure_libraries(line.say)
        totals.check(missing is None, missing or "")
    REPORTS.mkdir(parents=True, exist_ok=True)
    lent = environments.with_check_tools(check, CSD_BACKEND_PYTHON=str(backend), CSD_BPY_PYTHON=str(bpy or ""))
    if fuzz is not None:
        lent["CSD_FUZZ"] = str(fuzz)
    pytest = ("-m", "pytest", "-q", *pytest_arguments)

    def title(text: str) -> None:
        line.say(f"\n== {text} ({clock(time.monotonic() - started)})")

    if "lint" in steps:
        title("Lint")
        for trouble, command in lint_commands(check, backend).items():
            totals.check(run_with_limit(command, 120, lent) == 0, trouble)
    if "unit" in steps:
        title("Unit tests of the job and backend rooms, and the rules of the house")
        places = ("tests/test_architecture.py", "tests/test_api_surface.py", "tests/test_extending.py")
        places += ("tests/tools", "tests/lab", "tests/job", "tests/backend")
        run_pytest("unit", [str(backend), *pytest, *places], 45 * 60, lent, totals)
    if "addon" in steps:
        title("Unit tests of the addon room, in Blender as a module")
        run_pytest("addon", [str(bpy), *pytest, "tests/addon"], 20 * 60, lent, totals)
    if "package" in steps and bpy is not None:
        title("Manifest, zip and repository index, by Blender's own extension tool")
        try:
            zip_path = package.repository(extension_zip.ExtensionTool.from_module(bpy))[0]
            index = (DIST / "index.json").is_file()
            totals.check(index, "the repository index was not written")
            line.say(f"{shown(zip_path)} is valid, {zip_path.stat().st_size / 1e6:.1f} MB")
        except SystemExit as error:
            totals.check(False, str(error))
            line.say(str(error))
    if "end-to-end" in steps:
        title("The built zip in headless Blender, end to end")
        run_pytest("end_to_end", [str(backend), *pytest, "tests/end_to_end"], 25 * 60, lent, totals)
    line.say("")
    for trouble in totals.troubles:
        line.say(f"FAILED: {trouble}")
    line.say(f"Took {clock(time.monotonic() - started)}.")
    print(totals.closing_line(), flush=True)
    return 1 if totals.failed else 0


def lint_commands(check: Path, backend: Path) -> dict[str, list[str]]:
    """What is looked at without running it, by what is said when something was found; pyproject.toml has the rules."""
    importlinter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ty = [str(check), "-m", "ty", "check", "--output-format", "concise", "--python", str(backend)]
    return {
        "ruff found something": [str(check), "-m", "ruff", "check", "--no-cache", "."],
        "a file is not formatted (ruff format)": [str(check), "-m", "ruff", "format", "--no-cache", "--check", "."],
        "an import breaks a rule (import-linter)": [str(check), "-c", importlinter, "--no-cache", "--no-logo"],
        "a type does not fit (ty)": ty,
    }


def run_pytest(name: str, command: list[str], limit: int, environment: dict[str, str], totals: Totals) -> None:
    """Run one suite and add its counts; a suite that dies, hangs or runs no test counts as one more failure."""
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = run_with_limit([*command, f"--junitxml={report}"], limit, environment)
    if not report.is_file():
        totals.check(False, f"{name}: the tests did not come to their end ({describe(status, limit)})")
        return
    counted = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counted += tests
        totals.passed += max(0, tests - failed - skipped)
        totals.failed += failed
        totals.skipped += skipped
        totals.troubles += [
            f"{case.get('classname')}.{case.get('name')}"
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
    if not counted:
        totals.check(False, f"{name}: no test was run")
    elif status not in (0, 1):  # 1: some tests failed, and they are counted already
        totals.check(False, f"{name}: all tests were run, but the process did not end well ({describe(status, limit)})")


def describe(status: int | None, limit: int) -> str:
    if status is None:
        return f"stopped after {limit // 60} minutes"
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def run_with_limit(command: list[str], limit: int, environment: dict[str, str]) -> int | None:
    """Exit status; None when it ran past ``limit`` seconds. Its children are ended with it."""
    posix = os.name == "posix"
    child = subprocess.Popen(command, cwd=str(ROOT), env=environment, stdin=subprocess.DEVNULL, start_new_session=posix)
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also on Ctrl+C
        if child.poll() is None:
            if posix:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
            child.wait()
