"""The installer behind the *Set Up* button and build.py: private environments, never Blender's own Python.

An environment lives in ``root/<name>-<hash of its lock>/``; the file ``installed.json`` in it is written last, so a
half-made one is recognized and made again. Downloads are cached, so making it again goes on where it stopped. When
a lock changes, the new environment is built beside the old one, which is removed only once the new one works.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
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
from pathlib import Path

from ..errors import JobError
from ..folder import write_atomic
from ..process.processes import HeldFile, own_group
from .package_lock import LOCKS, Lock, Version, parse_version
from .package_tools import Installer, find_installer
from .progress import Bar, CheckSteps, Progress, doing, install_left
from .pythons import can_use_pip, clean_environment, find_python
from .torch_builds import TorchBuild, choose

SUPERVISOR = Path(__file__).resolve().parents[1] / "process" / "supervise.py"
MARKER = "installed.json"
PYTHONS = ((3, 11), (3, 12), (3, 13))  # what all pinned packages run on
LOG_LIMIT = 2**20
NETWORK = re.compile(
    "dns error|tcp connect|error sending request|failed to establish|name resolution|getaddrinfo|timed out|unreachable",
    re.IGNORECASE,
)
CHANGED = re.compile(r"Hash mismatch for `([^`]+)`|DO NOT MATCH THE HASHES[^\n]*\n\s+(\S+) from")
UNLISTED = re.compile(
    r"no trusted hash was provided for: `([^`]+)`|have a hash, but none were provided for: (\S+)"
    r"|(?:Hashes are required|all requirements must have)[^\n]*\n\s+(\S+)"
)
UNREADABLE = re.compile(
    r"Failed to [a-z ]+ `([^`]+)`\n\s*(?:cause|Caused by): (.+)|The structure of `([^`]+)`[^\n]*\n\s*(.+)"
)
ALL_FILES = """
import sys
from importlib.metadata import distributions
def gone(dist):
    return any(f.suffix != ".pyc" and not dist.locate_file(f).exists() for f in dist.files or ())
names = [dist.metadata["Name"] for dist in distributions() if gone(dist)]
if names:
    sys.exit("error: files are missing of " + ", ".join(names))
"""  # what a virus scanner or a cleaner took away
SPARE = 1.3  # free disk space asked for, relative to the installed size


def environment_python(folder: Path) -> Path:
    """The interpreter inside an environment's folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed_python(root: str | Path, name: str, lock: str | Path | None = None) -> Path | None:
    """Python of the finished environment ``name`` that fits its lock, or None."""
    folder = _folder(Path(root), name, Lock.read(Path(lock) if lock else LOCKS / f"{name}.txt"))
    return environment_python(folder) if _stands(folder) else None


def _stands(folder: Path) -> bool:
    return (folder / MARKER).is_file() and environment_python(folder).exists()


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
        lock: file of pinned packages with their hashes.
        python: required version such as ``"3.11"``; by default the lock's, else any from 3.11 to 3.13.
        wheel_dir: folder of wheels to install from without any network.
        report: called about twice a second while it works.
        cancelled: asked as often; True stops and leaves no half-made environment.
        verify: try an environment that stands, and build it anew when parts of it are gone, or when another build
            of torch fits this computer by now; takes some seconds.

    Raises:
        JobError: ``setup_failed`` with the reason, ``setup_needs`` with what to install first, ``wheel_changed`` with
            the package whose file is not the published one, ``no_space``, ``no_permission``, ``busy`` or ``cancelled``.
    """
    root, pins = Path(root).absolute(), Lock.read(Path(lock))
    folder = _folder(root, name, pins)
    if _stands(folder) and not verify:
        return environment_python(folder)
    wheels = Path(wheel_dir) if wheel_dir else None
    if wheels is not None and not wheels.is_dir():
        raise JobError("setup_failed", f"the folder of wheels {wheel_dir} does not exist")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError("no_permission", str(root)) from error
    try:
        with HeldFile(root / f"{name}.lock", "another Set Up is running"):
            work = _Work(root, folder, pins, report, cancelled)
            # made by another process a moment ago, or to be looked over
            if not (_stands(folder) and (not verify or work.is_sound(wheels))):
                _make(work, python, wheels, name)
    except OSError as error:
        raise _plain(error) from error
    return environment_python(folder)


def _make(work: _Work, python: str | None, wheels: Path | None, name: str) -> None:
    for rest in work.root.glob(f"{name}-*.old*"):
        shutil.rmtree(rest, ignore_errors=True)
    try:
        work.build([parse_version(python)] if python else list(work.pins.pythons), wheels)
    except BaseException:
        shutil.rmtree(work.folder, ignore_errors=True)  # best effort: without its marker it counts for nothing
        raise
    for old in work.root.glob(f"{name}-*"):
        if old != work.folder and re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", old.name):
            shutil.rmtree(old, ignore_errors=True)


def _plain(error: OSError) -> JobError:
    """A failure of the file system in words: no number, no class name."""
    where = str(error.filename or "")
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return JobError("no_space", where)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return JobError("no_permission", where)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return JobError("setup_failed", f"{where or 'its folder'} was taken away while Set Up was running")
    return JobError("setup_failed", f"{error.strerror or error}{': ' + where if where else ''}")


def _need_space(root: Path, size_mb: float) -> None:
    free, needed = shutil.disk_usage(root).free / 2**20, size_mb * SPARE
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
        self.cancelled = cancelled
        self.log = root / f"setup-{folder.name.rpartition('-')[0]}.log"
        self.bar = Bar(report)
        self.check_seconds = CheckSteps(pins.check, pins.check_seconds).total
        self.size_mb = pins.size_mb

    def build(self, wanted: list[Version], wheel_dir: Path | None) -> None:
        """From nothing to a checked environment, with one of the Pythons ``wanted``, or any that all packages know."""
        self.bar = Bar(self.bar.report)  # what a check of the old one showed does not count
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.unlink()
        _need_space(self.root, self.size_mb)
        self._tell("Looking for Python")
        installer = find_installer(self.root, wheel_dir, self._run)
        torch = choose(self.pins, wheel_dir, installer.environment)
        if torch:
            self.size_mb = torch.lock.size_mb
            _need_space(self.root, self.size_mb)
            wanted = [v for v in wanted or PYTHONS if not torch.pythons or v in torch.pythons]
        python = find_python(wanted or PYTHONS, installer.uv, installer.environment, self._run, self._tell)
        try:
            self._fill(installer, python, torch, wheel_dir)
        except JobError as error:
            # Some networks and antivirus programs let pip through but not uv.
            if error.code != "setup_failed" or not installer.uv or wheel_dir or not can_use_pip(python):
                raise
            self._fill(Installer(None, clean_environment()), python, torch, None)
        self._check()
        record = {"lock": self.pins.path.name, "digest": self.pins.digest, "python": str(python), "time": time.time()}
        if torch:
            record |= {"torch": torch.name, "note": torch.note}
        write_atomic(self.folder / MARKER, json.dumps(record).encode())
        self.bar.full("Ready")

    def is_sound(self, wheel_dir: Path | None) -> bool:
        """Whether an environment that stands can be used: its packages are all there, and torch's build fits still."""
        try:
            self._check(ALL_FILES)
            recorded = json.loads((self.folder / MARKER).read_text("utf-8")).get("torch")
        except JobError as error:
            if error.code == "cancelled":
                raise
            return False
        except (OSError, ValueError, AttributeError):
            return False
        if recorded is None:
            return True
        try:
            torch = choose(self.pins, wheel_dir, find_installer(self.root, wheel_dir, self._run).environment)
        except JobError as error:
            if error.code == "cancelled":
                raise
            return True  # nothing to build a better one with
        return torch is None or torch.name == recorded

    def _tell(self, text: str) -> None:
        """A step of its own before the installation, too short to be measured."""
        self.bar.tell(text, install_left(0, self.size_mb, 0)[0] + self.check_seconds)

    def _check(self, first: str = "") -> None:
        """Try every library once, which also readies it for quick starts; this can take as long as installing.

        ``first``: what the environment's Python runs before.
        """
        if not self.pins.check and not first:
            return
        steps = CheckSteps(self.pins.check, self.pins.check_seconds)
        started, start = time.monotonic(), self.bar.fraction

        def watch(output: str) -> None:
            share, left, text = steps.at(output, time.monotonic() - started)
            self.bar.tell_share(text, start, share, left)

        watch("")
        self._run([str(environment_python(self.folder)), "-I", "-c", first + steps.code()], None, watch)

    def _fill(self, installer: Installer, python: Path, torch: TorchBuild | None, wheel_dir: Path | None) -> None:
        _remove(self.folder)
        self._tell("Making the environment")
        self._run(installer.make_environment(python, self.folder), installer.environment)
        started, before = time.monotonic(), shutil.disk_usage(self.root).used

        def watch(output: str) -> None:
            done = max(0, (shutil.disk_usage(self.root).used - before) / 2**20)
            left, sure = install_left(done, self.size_mb, time.monotonic() - started)
            text = f"{doing(output)} ({min(done, self.size_mb):.0f} of about {self.size_mb} MB)"
            self.bar.tell(text, left + self.check_seconds, sure)

        command = installer.install(environment_python(self.folder), self.pins, torch, wheel_dir)
        self._run(command, installer.environment, watch)

    def _run(self, command: list[str], environment: dict | None, watch: Callable[[str], None] | None = None) -> str:
        """Run a step to its end; its output goes to the log, now and then to ``watch``, and comes back.

        Raises ``JobError``.
        """
        position = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            try:
                child = subprocess.Popen(
                    [sys.executable, "-I", str(SUPERVISOR), *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=clean_environment() if environment is None else environment,
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
                    if watch:
                        watch(self._said(position))
                    else:
                        self.bar.again()
            finally:
                child.stdin.close()  # the supervisor then ends what still runs
                child.wait()
        output = self._said(position)
        if status != 0:
            raise _failure(output)
        return output

    def _said(self, position: int) -> str:
        with open(self.log, "rb") as log:
            log.seek(position)
            return log.read().decode("utf-8", "replace")


def _failure(output: str) -> JobError:
    """The last telling line of an installer's output as an error."""
    changed, unlisted, unreadable = (pattern.search(output) for pattern in (CHANGED, UNLISTED, UNREADABLE))
    if changed:
        return JobError("wheel_changed", _named(changed)[0])
    if unlisted:
        return JobError("setup_failed", f"{_named(unlisted)[0]} is not in the list of packages")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No space left" in line or "os error 28" in line for line in lines):
        return JobError("no_space", "while installing packages")
    if any(NETWORK.search(line) for line in lines):
        return JobError("setup_failed", "the packages cannot be reached; go online, or choose a folder of wheels")
    if unreadable:
        return JobError("setup_failed", ": ".join(_named(unreadable)))
    telling = [line for line in lines if re.search(r"error|fail|not found|no matching|×", line, re.IGNORECASE)]
    return JobError("setup_failed", (telling or lines or ["no reason was given"])[-1][:300])


def _named(match: re.Match) -> list[str]:
    """What a message names, pins as people write them: ``torch 2.13.0``."""
    return [group.replace("==", " ")[:200] for group in match.groups() if group]


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
    except (JobError, OSError) as error:
        entry = error if isinstance(error, JobError) else _plain(error)
        _show_log(options.root / "setup-backend.log")
        tell("error", code=entry.code, text=entry.text, fix=entry.fix, detail=entry.detail)
        return 1
    tell("done", python=str(python), note=_note(python))
    return 0


def _note(python: Path) -> str:
    """What there is to say about the finished environment, such as that the graphics card's driver is too old."""
    try:
        return str(json.loads((python.parents[1] / MARKER).read_text("utf-8")).get("note", ""))
    except (OSError, ValueError):
        return ""


def _show_log(path: Path) -> None:
    """What the installers said last, to stderr, which is the log that people are shown."""
    with contextlib.suppress(OSError):
        sys.stderr.write(path.read_text(encoding="utf-8", errors="replace")[-8000:])
