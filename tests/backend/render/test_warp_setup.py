"""The quiet start of Warp."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_warp_starts_without_a_word_and_keeps_its_kernels_where_it_is_told(tmp_path):
    code = (
        "from csd_blender.backend.render.warp_setup import start_warp; start_warp(); import warp; "
        f"assert warp.config.kernel_cache_dir.startswith({str(tmp_path)!r}), warp.config.kernel_cache_dir"
    )
    environment = os.environ | {"CSD_KERNEL_CACHE": str(tmp_path / "kernels"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
