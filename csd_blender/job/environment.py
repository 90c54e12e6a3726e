"""The installer behind the *Set Up* button and build.py: private environments, never Blender's own Python.

An environment lives in ``root/<name>-<hash of its lock>/``; the file ``installed.json`` in it is written last, so a
half-made one is recognized and made again. Downloads are cached, so making it again goes on where it stopped. When
a lock changes, the new environment is built beside the old one, which is removed only once the new one works.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import JobError
from .folder import write_atomic
from .package_tools import Installer, can_use_pip, find_installer, find_python, installer_environment
from .processes import HeldFile, own_group

LOCKS = Path(__file__).resolve().parent / "locks"
SUPERVISOR = Path(__file__).resolve().parent / "supervise.py"
MARKER = "installed.json"
PYTHON_RANGE = ((3, 11), (3, 13))  # what all pinned packages run on
LOG_LIMIT = 2**20
NETWORK = re.compile(
    "dns error|tcp connect|error sending request|failed to establish|name resolution|getaddrinfo|timed out|unreachable",
    re.IGNORECASE,
)
SPARE = 1.3  # free disk space asked for, relative to the installed size


@dataclass(frozen=True)
class Progress:
    """How far an installation is: ``fraction`` in [0, 1], a text for people, seconds left or None."""

    fraction: float
    text: str
    seconds_left: float | None = None


@dataclass(frozen=True)
class Lock:
    """A list of pinned packages, with what its header lines say.

    Attributes:
        digest: of the pins, 12 hexadecimal digits; comments do not count.
        size_mb: of the installed environment, about.
        check: a statement that must run in the new environment.
        python: required version such as ``3.11``, or empty.
    """

    path: Path
    digest: str
    size_mb: int
    check: str
    python: str

    @staticmethod
    def read(path: Path) -> Lock:
        """Raises ``JobError('setup_failed')`` when the file is missing."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise JobError("setup_failed", f"the list of packages {path} is missing") from error
        notes = dict(re.findall(r"^# ([a-z-]+): (.+)$", text, re.MULTILINE))
        pins = sorted(line.strip().lower() for line in text.splitlines() if line.strip() and line[0] != "#")
        digest = hashlib.sha256("\n".join(pins).encode()).hexdigest()[:12]
        return Lock(Path(path), digest, int(notes.get("size-mb", 50)), notes.get("check", ""), notes.get("python", ""))


def environment_python(folder: Path) -> Path:
    """The interpreter inside an environment's folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed_python(root: str | Path, name: str, lock: str | Path | None = None) -> Path | None:
    """Python of the finished environment ``name`` that fits its lock, or None."""
    folder = _folder(Path(root), name, Lock.read(Path(lock) if lock else LOCKS / f"{name}.txt"))
    return environment_python(folder) if _stands(folder) else None


def _stands(folder: Path) -> bool:
    return (folder / MARKER).is_file() and environment_python(folder).exists()


def _damaged(folder: Path, pins: Lock) -> bool:
    """Whether the packages cannot be imported, after a virus scanner or a cleaner took files away, say."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [str(environment_python(folder)), "-I", "-c", pins.check or "pass"]
    try:
        return subprocess.run(command, timeout=300, **pipes).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


def _folder(root: Path, name: str, lock: Lock) -> Path:
    return root / f"{name}-{lock.digest}"


def ensure_environment(
    root: str | Path,
    lock: str | Path,
    name: str = "backend",
    python: str | None = None,
    wheel_dir: str | Path | None = None,
    report: Callable[[Progress], object] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    verify: bool = False,
) -> Path:
    """Path of the environment's Python; builds the environment first where it does not stand yet.

    Args:
        root: folder of all environments.
        lock: file of pinned packages.
        python: required version such as ``"3.11"``; by default the lock's, else any from 3.11 to 3.13.
        wheel_dir: folder of wheels to install from without any network.
        report: called about twice a second while it works.
        cancelled: asked as often; True stops and leaves no half-made environment.
        verify: try an environment that stands, and build it anew when parts of it are gone; takes some seconds.

    Raises:
        JobError: ``setup_failed`` with the reason, ``no_space``, ``no_permission``, ``busy`` or ``cancelled``.
    """
    root, pins = Path(root).absolute(), Lock.read(Path(lock))
    folder = _folder(root, name, pins)
    if _stands(folder) and not (verify and _damaged(folder, pins)):
        return environment_python(folder)
    if wheel_dir is not None and not Path(wheel_dir).is_dir():
        raise JobError("setup_failed", f"the folder of wheels {wheel_dir} does not exist")
    _make_root(root, pins)
    with HeldFile(root / f"{name}.lock", "another Set Up is running"):
        # made by another process a moment ago
        if _stands(folder) and not (verify and _damaged(folder, pins)):
            return environment_python(folder)
        for rest in root.glob(f"{name}-*.old*"):
            shutil.rmtree(rest, ignore_errors=True)
        work = _Work(root, folder, pins, report, cancelled)
        try:
            work.build(python or pins.python, Path(wheel_dir) if wheel_dir else None)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # best effort: without its marker it counts for nothing
            raise
        for old in root.glob(f"{name}-*"):
            if old != folder and re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", old.name):
                shutil.rmtree(old, ignore_errors=True)
    return environment_python(folder)


def _make_root(root: Path, pins: Lock) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free / 2**20
    except OSError as error:
        raise JobError("no_permission", str(root)) from error
    needed = pins.size_mb * SPARE
    if free < needed:
        raise JobError("no_space", f"{needed:.0f} MB are needed in {root}, {free:.0f} MB are free")


def _remove(folder: Path) -> None:
    """Take a half-made environment away. It is moved aside first, so that no part of it is ever found in its place."""
    if not folder.exists():
        return
    aside = folder.with_name(f"{folder.name}.old{os.getpid()}-{time.monotonic_ns()}")
    try:
        os.replace(folder, aside)
    except OSError as error:
        raise JobError("setup_failed", f"{folder} is in use; close the programs that run from it") from error
    shutil.rmtree(aside, ignore_errors=True)


class _Work:
    """One build: its steps, with progress and cancel between and during them."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        pins: Lock,
        report: Callable[[Progress], object],
        cancelled: Callable[[], bool],
    ) -> None:
        self.root, self.folder, self.pins = root, folder, pins
        self.report, self.cancelled = report, cancelled
        self.log = root / f"setup-{folder.name.rpartition('-')[0]}.log"
        self.fraction = 0.0

    def build(self, version: str, wheel_dir: Path | None) -> None:
        """From nothing to a checked environment."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.unlink()
        self._report(0.01, "Looking for Python")
        installer = find_installer(self.root, wheel_dir, self._run)
        python = find_python(version, PYTHON_RANGE, installer, self._run)
        inside = environment_python(self.folder)
        try:
            self._fill(installer, python, inside, wheel_dir)
        except JobError as error:
            # Some networks and antivirus programs let pip through but not uv.
            if error.code != "setup_failed" or not installer.uv or wheel_dir or not can_use_pip(python):
                raise
            self._fill(Installer(None, installer_environment()), python, inside, None)
        self._report(0.96, "Checking what was installed")
        if self.pins.check:
            self._run([str(inside), "-I", "-c", self.pins.check], None)
        record = {"lock": self.pins.path.name, "digest": self.pins.digest, "python": str(python), "time": time.time()}
        write_atomic(self.folder / MARKER, json.dumps(record).encode())
        self._report(1.0, "Ready", 0.0)

    def _report(self, fraction: float, text: str, seconds_left: float | None = None) -> None:
        """Tell how far it is; the bar never runs backwards, whatever the estimates say."""
        self.fraction = max(self.fraction, fraction)
        self.report(Progress(self.fraction, text, seconds_left))

    def _fill(self, installer: Installer, python: Path, inside: Path, wheel_dir: Path | None) -> None:
        _remove(self.folder)
        self._report(0.03, "Making the environment")
        self._run(installer.make_environment(python, self.folder), installer.environment)
        self._install(installer, inside, wheel_dir)

    def _install(self, installer: Installer, inside: Path, wheel_dir: Path | None) -> None:
        started, before = time.monotonic(), shutil.disk_usage(self.root).used

        def watch() -> None:
            done = (shutil.disk_usage(self.root).used - before) / 2**20
            part = min(max(done / self.pins.size_mb, 0.0), 0.97)
            elapsed = time.monotonic() - started
            left = elapsed * (1 - part) / part if part > 0.05 else None
            text = f"Installing packages ({max(done, 0):.0f} of about {self.pins.size_mb} MB)"
            self._report(0.05 + 0.9 * part, text, left)

        self._run(installer.install(inside, self.pins.path, wheel_dir), installer.environment, watch)

    def _run(self, command: list[str], environment: dict | None, watch: Callable[[], None] = lambda: None) -> str:
        """Run a step to its end; its output goes to the log and comes back. Raises ``JobError``."""
        position = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            try:
                child = subprocess.Popen(
                    [sys.executable, "-I", str(SUPERVISOR), *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=installer_environment() if environment is None else environment,
                    **own_group(),
                )
            except OSError as error:
                raise JobError("setup_failed", f"{sys.executable} cannot be run: {error}") from error
            try:
                while True:
                    try:
                        status = child.wait(0.5)
                        break
                    except subprocess.TimeoutExpired:
                        pass
                    if self.cancelled():
                        raise JobError("cancelled")
                    watch()
            finally:
                child.stdin.close()  # the supervisor then ends what still runs
                child.wait()
        output = self.log.read_bytes()[position:].decode("utf-8", "replace")
        if status != 0:
            raise _failure(output)
        return output


def _failure(output: str) -> JobError:
    """The last telling line of an installer's output as an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No space left" in line or "os error 28" in line for line in lines):
        return JobError("no_space", "while installing packages")
    if any(NETWORK.search(line) for line in lines):
        return JobError("setup_failed", "the packages cannot be reached; go online, or choose a folder of wheels")
    telling = [line for line in lines if re.search(r"error|fail|not found|no matching|×", line, re.IGNORECASE)]
    return JobError("setup_failed", (telling or lines or ["no reason was given"])[-1][:300])


def main(arguments: list[str] | None = None) -> int:
    """``setup --root DIR [--wheels DIR]``: build the backend, telling progress as JSON lines; ends with its parent."""
    parser = argparse.ArgumentParser(prog="setup")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())

    def follow_parent() -> None:
        # Not sys.stdin: a daemon thread that holds its buffer's lock makes Python abort at exit.
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=follow_parent, daemon=True).start()

    def tell(kind: str, **body: object) -> None:
        sys.stdout.write(json.dumps({"type": kind, **body}) + "\n")
        sys.stdout.flush()

    def report(progress: Progress) -> None:
        tell("progress", fraction=progress.fraction, text=progress.text, seconds_left=progress.seconds_left)

    try:
        python = ensure_environment(
            options.root,
            LOCKS / "backend.txt",
            wheel_dir=options.wheels,
            report=report,
            cancelled=stop.is_set,
            verify=True,
        )
    except JobError as error:
        _show_log(options.root / "setup-backend.log")
        tell("error", code=error.code, text=error.text, fix=error.fix, detail=error.detail)
        return 1
    except OSError as error:
        entry = JobError("setup_failed", str(error))
        tell("error", code=entry.code, text=entry.text, fix=entry.fix, detail=entry.detail)
        return 1
    tell("done", python=str(python))
    return 0


def _show_log(path: Path) -> None:
    """What the installers said last, to stderr, which is the log that people are shown."""
    try:
        sys.stderr.write(path.read_text(encoding="utf-8", errors="replace")[-8000:])
    except OSError:
        pass
