"""The gallery's part inside Blender: each thing made by the extension, seen from the front and from behind."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.in_blender import studio  # noqa: E402
from tools.in_blender.demo import bring_in, texture  # noqa: E402
from tools.in_blender.extension import install, run_plan, tell  # noqa: E402

SIZE, SAMPLES, COLUMNS = 320, 16, 4
TURNS = 12
FRONT, BACK = 12, 6  # frames: a bit to the side of the front, and the back


def run(plan: dict) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    install(plan["zip"], plan["data_folder"], plan["backend_python"])
    fronts, backs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for index, item in enumerate(plan["items"]):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)
            meshes = bring_in(Path(item["mesh"]), smooth=True) if "mesh" in item else []
            texture({**plan, **item})
            studio.build(meshes or bpy.context.selected_objects[:], TURNS)
            tell("progress", text=f"Photographing “{item['prompt']}”")
            for frame, pictures in ((FRONT, fronts), (BACK, backs)):
                bpy.context.scene.frame_start = bpy.context.scene.frame_end = frame
                folder = Path(scratch) / f"{index}_{frame}"
                pictures += studio.shoot(folder, SIZE, SAMPLES, lambda done, total: None)
        rows = []
        for start in range(0, len(fronts), COLUMNS):
            rows += fronts[start : start + COLUMNS] + backs[start : start + COLUMNS]
        studio.contact_sheet(rows, Path(plan["picture"]), COLUMNS)
    tell("done")


if __name__ == "__main__":
    run_plan(run)
