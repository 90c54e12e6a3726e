"""`build.py gallery`: bundled meshes with a prompt each, or objects made from text, on one picture.

The results in the README are made by it.
"""

from __future__ import annotations

import argparse
import time

from ..blender import follow, prepare
from ..paths import shown
from ..status_line import StatusLine, clock
from .demo import bundled_mesh

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
OBJECTS = (
    ("character", "a purple dotted owl"),
    ("object", "a marble vase"),
    ("character", "an orange cat"),
    ("object", "a wooden mushroom"),
    ("character", "a brick house"),
    ("object", "a pink dotted cone"),
    ("character", "a mossy snowman"),
    ("object", "an icy bottle"),
)


def run(options: argparse.Namespace) -> int:
    line = StatusLine()
    stage = prepare(options.blender, options.wheels, line)
    started = time.monotonic()
    path = options.out.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, listed = ("objects", OBJECTS) if options.objects else ("textures", ITEMS)
    if options.objects:
        items = [{"make_object": True, "subject": subject, "prompt": prompt} for subject, prompt in OBJECTS]
    else:
        items = [{"mesh": str(bundled_mesh(stage.backend, mesh)), "prompt": prompt} for mesh, prompt in ITEMS]
    plan = {**stage.plan, "items": items, "quality": options.quality, "seed": options.seed, "picture": str(path)}
    follow(stage.command("gallery.py"), plan, line)
    print(f"{shown(path)}  ({len(items)} {kind} in {clock(time.monotonic() - started)})")
    for name, prompt in listed:
        print(f"  {name:10} {prompt}")
    return 0
