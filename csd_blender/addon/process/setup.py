"""*Set Up*: the installer of ``job/setup/environment.py`` as a child process, its progress read line by line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

from ...job.errors import ERRORS
from ..job import Problem
from ..preferences import environments_folder, preferred_path
from ..session import session
from . import backend
from .lines import Advance, Lines, problem_of, start_child, take_in, wait_for


@dataclass
class Setup:
    """A running installation.

    Attributes:
        fraction: done, in [0, 1]. text: what it does now. seconds_left: None while unknown.
    """

    process: subprocess.Popen
    fraction: float = 0.0
    text: str = "Setting up the backend"
    seconds_left: float | None = None
    cancelled: bool = False
    done: bool = False
    problem: Problem | None = None
    lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        self.lines = Lines(self.process, "csd-setup")

    def poll(self) -> bool:
        """Take in what the child said; returns whether anything changed. The end is noted in the session."""
        return take_in(self)

    def take(self, news: dict) -> None:
        if news.get("type") == "error":
            self.problem = problem_of(news)
        elif news.get("type") == "done":
            self.done = True
        elif news.get("type") == "progress":
            said = Advance.from_json(news, lenient=True)
            self.fraction, self.seconds_left = said.fraction, said.seconds_left
            self.text = said.text or self.text

    def finish(self) -> None:
        status = self.process.wait()
        session.setup = None
        backend.look_for_python()
        if self.cancelled:
            session.notice = "Set Up was cancelled."
        elif (self.done or status == 0) and backend.is_astray():
            session.problem = Problem(f"{backend.why_not_ready()}.", "Correct the path or clear it.", True)
        elif not (self.done or status == 0) or not backend.ready():
            entry = ERRORS["setup_failed"]
            session.problem = self.problem or Problem(entry.text, entry.fix, True, "setup_failed")
        else:
            session.notice = "The backend is ready."

    def cancel(self) -> None:
        """Stop the child; what it downloaded stays for the next time."""
        self.cancelled = True
        self.text = "Stopping …"
        self.process.stdin.close()  # the child stops by itself and takes back what is half made


def command() -> list[str]:
    wheels = preferred_path("wheel_folder")
    launch = [sys.executable, "-I", "-u", "-X", "utf8", str(backend.PACKAGE / "launch.py"), "setup"]
    return [*launch, "--root", str(environments_folder()), *(["--wheels", wheels] if wheels else [])]


def start() -> Setup:
    """Begin the installation. Raises ``OSError`` when the child cannot be started."""
    backend.stop()
    return Setup(start_child(command()))


def run_to_end() -> None:
    """Wait here until the installation ended."""
    wait_for(lambda: session.setup)


def stop() -> None:
    """End a running installation, as when Blender quits."""
    setup, session.setup = session.setup, None
    if setup is not None:
        setup.cancel()
