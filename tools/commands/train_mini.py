"""`build.py train-mini`: render the pictures, train the bundled models, put their weights in their place."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..paths import BUILD, PACKAGE, ROOT, child_environment, shown

WORK = BUILD / "mini"
WEIGHTS = PACKAGE / "backend" / "mini" / "weights"


def run(python: Path, options: Sequence[str]) -> int:
    """Train, or go on with a training that was interrupted, then export; at last the small language model.

    ``options`` go to the training. ``--language`` is the language model's alone: it takes a minute or two.
    """
    mini = [str(python), "-m", "tools.lab.mini"]
    environment = child_environment(PYTHONPATH=str(ROOT))
    if "--language" in options:
        own = [option for option in options if option != "--language"]
        return subprocess.call([*mini, "language-train", *own], env=environment)
    places = ["--out", str(WORK / "run"), "--cache", str(WORK / "pictures"), "--resume"]
    only_help = bool({"-h", "--help"} & set(options))
    if not only_help:
        print(f"Checkpoints lie in {shown(WORK)}. Interrupt at any time: the same command goes on.", flush=True)
    status = subprocess.call([*mini, "train", *places, *options], env=environment)
    if status or only_help:
        return status
    export = ["export", "--checkpoint", str(WORK / "run"), "--weights", str(WEIGHTS)]
    return subprocess.call([*mini, *export], env=environment) or subprocess.call(
        [*mini, "language-train"], env=environment
    )
