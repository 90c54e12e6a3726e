"""Everything that only a graphics card can show, in one run of at most seven minutes, as one Markdown page.

    python3 build.py bench --cuda [--out FOLDER]
    python -m tools.lab.cuda --out FOLDER      with any Python that has the backend's packages, and pytest

Without a card it says so and ends well. ``--rehearse`` goes through all of it on the processor, at sizes that take a
minute; those figures mean nothing. Times are of random weights where no real ones are bundled: they cost the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("torch", "warp-lang", "diffusers", "transformers", "numpy", "xatlas", "pytest")
TESTS_NEED = 60.0  # seconds; with fewer left they are not begun
SAID = re.compile(r"^(FAILED|ERROR) (.*)$", re.MULTILINE)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench --cuda", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / ".build" / "bench-cuda", metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=400.0, help="no section or test goes on for longer")
    parser.add_argument("--only", action="append", metavar="WORD", help="only sections whose title has this word")
    parser.add_argument("--nvdiffrast", type=Path, metavar="FOLDER", help="a checkout, built here for the comparison")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, at tiny sizes")
    arguments = parser.parse_args(argv)
    try:
        import torch
    except ImportError:
        print("Error: this Python has no torch; `python3 build.py bench --cuda` brings its own.", file=sys.stderr)
        return 1
    if not arguments.rehearse and not torch.cuda.is_available():
        print("Nothing was measured: there is no CUDA card here that torch can use.")
        return 0
    return measure(arguments)


def measure(arguments: argparse.Namespace) -> int:
    """Write the page; returns 0 also when sections failed, for the page tells."""
    import torch
    from diffusers.utils import logging

    from . import compare_devices, mesh_costs, step_costs, training_speed
    from .report import LabReport
    from .sizes import Lab, rehearsal

    logging.set_verbosity_error()
    started = time.monotonic()
    report = LabReport(arguments.out / "report.md", started + arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="csd-cuda-") as folder:
        scratch = Path(folder)
        lab = rehearsal(scratch) if arguments.rehearse else Lab(torch.device("cuda:0"), scratch)
        lab = replace(lab, nvdiffrast=arguments.nvdiffrast)
        report.begin(head(lab.device, arguments.rehearse))
        modules = (compare_devices, step_costs, mesh_costs, training_speed)
        sections = [(title, work) for module in modules for title, work in module.SECTIONS]
        sections.append(("Tests", lambda lab: tests([*lab.tests, f"--device={lab.device}"], arguments.out, report.end)))
        for title, work in sections:
            if not arguments.only or any(word.lower() in title.lower() for word in arguments.only):
                report.section(title, lambda work=work: work(lab))
    whole = f"All in all {time.monotonic() - started:.0f} s."
    report.add(whole + (f" Not finished: {', '.join(report.failed)}." if report.failed else ""))
    return 0


def head(device, rehearsed: bool) -> str:
    """Date, card and versions."""
    import torch

    lines = [f"# Measured on a graphics card, {date.today().isoformat()}", ""]
    if rehearsed:
        lines = ["# A rehearsal on a processor: these figures mean nothing", ""]
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        memory = f"{about.total_memory / 2**30:.0f} GiB, {about.multi_processor_count} multiprocessors"
        lines.append(f"* Card: {about.name}, {memory}, CUDA {torch.version.cuda}, driver {driver()}")
    lines.append(f"* Processor: {os.cpu_count()} threads seen, {torch.get_num_threads()} used by torch")
    found = [f"{name} {installed(name)}" for name in PACKAGES]
    lines.append(f"* Python {platform.python_version()}, {', '.join(found)}")
    return "\n".join(lines)


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def tests(places: Sequence[str], out: Path, end: float) -> str:
    """The tests with a card present; ``places`` are what pytest is told to run, its ``--device`` with them.

    The log is written while they run, so that a run that is cut off still tells what it had.
    """
    left = end - time.monotonic()
    if left < TESTS_NEED:
        return f"Not run: {left:.0f} s were left."
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *places]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(12, os.cpu_count() or 1)), "--dist", "worksteal"]
    if importlib.util.find_spec("pytest_timeout"):
        command += ["--timeout", "150"]
    log = out / "tests.log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(left)
            ended = ""
        except subprocess.TimeoutExpired:
            ended = f" They were stopped after {left:.0f} s."
            stop(process)
    return told(log.read_text("utf-8", errors="replace"), command, ended)


def stop(process: subprocess.Popen) -> None:
    """First as Ctrl+C does, so that pytest still lists what failed; then for good, with all it started."""
    if os.name == "nt":  # no process groups of this kind
        process.kill()
        process.wait()
        return
    for number, patience in ((signal.SIGINT, 15), (signal.SIGKILL, 15)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
            return
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def told(text: str, command: Sequence[str], ended: str) -> str:
    """The last line of a log of pytest, and every failure in it."""
    lines = [line for line in text.splitlines() if line.strip()]
    summary = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error|skipped)", line)), "")
    failures = [f"* {what} {name[:300]}" for what, name in SAID.findall(text)]
    if not summary and not failures:
        summary = lines[-1] if lines else "pytest said nothing"
    shown = shlex.join(["python", *command[1:]])
    parts = [f"`{shown}`", f"{summary.strip('= ')}.{ended}", *failures]
    return "\n\n".join(parts[:2]) + ("\n\n" + "\n".join(failures) if failures else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
