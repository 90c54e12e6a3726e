"""The README's picture of the panel from the photographs of gui_photos.sh: running and finished, side by side.

python tools/in_blender/panel_picture.py PHOTO_FOLDER docs/panel.png        (needs Pillow)
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

BOX = (290, 82, 1050, 716)  # the 3D view with its sidebar in a window of 1280 x 800


def panel_picture(folder: Path) -> Image.Image:
    halves = [Image.open(folder / f"{name}.png").convert("RGB").crop(BOX) for name in ("4_running", "5_finished")]
    both = Image.new("RGB", (2 * halves[0].width, halves[0].height))
    for i, half in enumerate(halves):
        both.paste(half, (i * half.width, 0))
    return both.quantize(256, kmeans=4, dither=Image.Dither.NONE)


if __name__ == "__main__":
    panel_picture(Path(sys.argv[1])).save(sys.argv[2], optimize=True)
