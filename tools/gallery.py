"""`build.py gallery`: bundled meshes with a prompt each, on one picture. The results in the README are made by it."""

from __future__ import annotations

import argparse
import time

from .demo import bundled_mesh, follow, prepare
from .paths import shown
from .status_line import StatusLine, clock

ITEMS = (
    ("robot", "a rusty robot head"),
    ("house", "a brick house"),
    ("mug", "a blue striped mug"),
    ("snowman", "an icy snowman"),
    ("vase", "a marble vase"),
    ("car", "a red checkered car"),
    ("chair", "a wooden chair"),
    ("mushroom", "a red dotted mushroom"),
)


def run(options: argparse.Namespace) -> int:
    line = StatusLine()
    stage = prepare(options.blender, options.wheels, line)
    started = time.monotonic()
    path = options.out.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    items = [{"mesh": str(bundled_mesh(stage.backend, mesh)), "prompt": prompt} for mesh, prompt in ITEMS]
    plan = {**stage.plan, "items": items, "quality": options.quality, "seed": options.seed, "picture": str(path)}
    follow(stage.command("gallery_blender.py"), plan, line)
    print(f"{shown(path)}  ({len(items)} textures in {clock(time.monotonic() - started)})")
    for mesh, prompt in ITEMS:
        print(f"  {mesh:10} {prompt}")
    return 0
