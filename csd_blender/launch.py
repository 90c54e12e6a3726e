"""Start the backend from wherever this package lies, under whatever name its folder has.

Run as a script by the backend's own Python: ``python -I -u -X utf8 launch.py COMMAND ...``. In Blender the package is
called ``bl_ext.<repository>.csd_blender``; here it is always ``csd_blender``, and nothing else of Blender's module
path comes along.
"""

import os
import signal


def leave(signum: int, frame: object) -> None:
    """Ctrl+C while nothing has begun: no traceback out of the middle of an import."""
    try:
        os.write(2, b"\nInterrupted.\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, leave)

import importlib.util  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

NAME = "csd_blender"

#: Idle threads soon give the processor back instead of spinning: Blender draws on the same cores. Not at once, where
#: that can be said (GNU's OpenMP, on Linux): a job of small pictures has thousands of short waits, and took 1.4 times
#: as long; beside a program that takes a whole core it takes a fifth longer so, and with the usual spinning six times.
THREAD_SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "0"}


def load_package(folder: Path) -> None:
    """Make the package in ``folder`` importable as ``csd_blender``."""
    inside = [str(folder)]
    spec = importlib.util.spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=inside)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)


def main() -> int:
    for name, value in THREAD_SETTINGS.items():
        os.environ.setdefault(name, value)
    here = Path(__file__).resolve().parent
    # The script's own folder must not shadow modules (``-I`` leaves it out, a plain start does not).
    sys.path[:] = [p for p in sys.path if not p or Path(p).resolve() != here]
    load_package(here)
    from csd_blender.job.process.processes import open_streams

    open_streams()
    if sys.argv[1:2] == ["setup"]:  # the one command that needs no backend: it makes it
        from csd_blender.job.setup.environment import main as run

        signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(sys.argv[2:])
    from csd_blender.backend.cli.main import main as run

    return run(sys.argv[1:])


if __name__ == "__mp_main__":  # a process of a pool, which looks for its work in the package
    load_package(Path(__file__).resolve().parent)

if __name__ == "__main__":
    sys.exit(main())
