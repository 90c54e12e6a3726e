"""`build.py doctor`: what stands, what is amiss, and what to do about it. Makes nothing but the backend environment."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from .. import environments, system_libraries
from ..paths import BUILD, LAUNCH, ROOT, child_environment, shown
from ..status_line import StatusLine


def run(wheels: Path | None) -> int:
    amiss = []

    def row(ok: bool, name: str, text: str, fix: str = "") -> None:
        print(f"{'ok  ' if ok else 'BAD '} {name:22} {text}")
        if not ok and fix:
            print(f"{'':27} {fix}")
            amiss.append(name)

    print(f"build.py on {platform.platform()}, Python {platform.python_version()}")
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    row(free > 6, "disk", f"{free:.0f} GB free", "The environments need about 6 GB.")
    missing = system_libraries.missing_libraries()
    row(
        not missing,
        "system libraries",
        "all there" if not missing else "missing: " + ", ".join(missing),
        "sudo " + " ".join(system_libraries.install_command(missing)) if missing else "",
    )
    backend = environments.ensure("backend", StatusLine(), wheels)
    for name in environments.LOCKS:
        python = environments.standing(name)
        print(f"ok   {name + ' environment':22} {shown(python) if python else 'not made yet; made when it is needed'}")
    print(f"     {'everything made':22} {shown(BUILD)} (may be deleted at any time)")
    print("\nThe backend's own doctor:", flush=True)
    done = subprocess.run([str(backend), str(LAUNCH), "doctor"], env=child_environment())
    return 1 if amiss or done.returncode else 0
