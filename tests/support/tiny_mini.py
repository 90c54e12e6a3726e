"""A tiny model of the mini model's build, with pictures to train beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tools.lab.mini.models import Sizes, make_text_encoder, make_unet, make_vae, save_pipeline


def write_world(folder: Path, part: dict[str, np.ndarray]) -> Path:
    """``weights``, and a ``cache`` of pictures that has this part."""
    torch.manual_seed(0)
    sizes = Sizes((8, 8, 8), (16, 16, 16), 32, 1)
    save_pipeline(folder / "weights", make_vae(sizes), make_unet(sizes), make_text_encoder(sizes))
    (folder / "cache").mkdir()
    with (folder / "cache" / "part_00000.npz").open("wb") as file:
        np.savez(file, **part)
    return folder
