"""What of a mesh its pictures hardly show, and so cannot paint: said before the work begins."""

from __future__ import annotations

import torch
from torch import Tensor

from ...job.errors import quoted
from ...job.spec.cameras import CameraRange
from ...job.spec.texture import TextureJob
from ..render.camera_draws import draw_shots
from ..render.surface import Surface, samples_along
from ..support.reporting import Reporter

SHOTS = 8
# Of the pictures' pixels. By the mini model a robot made 30 times thinner takes 2 % of them and gets its red, 100 times
# thinner 0.6 % and a grayish one, 300 times 0.3 % and hardly any.
TOO_THIN = 0.008
TOO_SMALL = 1.0  # pixels of an object in a picture, on average


def warn_of_unseen(surface: Surface, job: TextureJob, size: int, reporter: Reporter) -> None:
    """Say it when pictures of ``size`` pixels, taken by the job's cameras, show next to nothing of the mesh, or of some
    of its objects."""
    shares = visible_shares(surface, job.cameras, size)
    total, count = float(shares.sum()), len(shares)
    if total < TOO_THIN:
        share = f"only {100 * total:.1g} %" if total > 1e-4 else "hardly anything"
        if count == 1:
            said = f"The mesh is so thin for its length that it takes {share} of a picture"
            way = "texture a shorter piece of it, or its parts one by one"
        else:
            said = f"The objects are so thin, or so far apart for their size, that they take {share} of a picture"
            way = "texture them one after the other"
        reporter.warn("hardly_seen", f"{said}, and may stay {'gray' if job.from_gray else 'in the old colors'}: {way}.")
        return
    unseen = [i for i, share in enumerate(shares.tolist()) if share * size**2 < TOO_SMALL]
    if unseen:
        names = [quoted(surface.mesh.part_names[i], 40) for i in unseen]
        listed = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
        then = "come by chance" if job.from_gray else "may stay the old ones"
        reporter.warn(
            "hardly_seen",
            f"{len(names)} of {count} objects can hardly be seen in the pictures, hidden by others or too small beside "
            f"them ({listed}): colors there {then}. Texture them on their own.",
        )


def visible_shares(surface: Surface, ranges: CameraRange, size: int) -> Tensor:
    """The share of the pictures' pixels, 0 to 1, that shows each object of the mesh, ``[P]``, on average over some
    cameras of the job's; the same at each call."""
    shots = draw_shots(ranges, SHOTS, torch.Generator().manual_seed(0))
    samples = samples_along(size)
    parts = surface.part.cpu()
    counts = torch.zeros(len(surface.mesh.part_names), dtype=torch.float64)
    for i in range(SHOTS):  # one by one: memory for one picture, at any size
        raster = surface.rasterize(shots.cameras.select([i]), size * samples, shots.target[i : i + 1])
        face = raster.rast[..., 3].long().cpu()
        counts += torch.bincount(parts[face[face > 0] - 1], minlength=len(counts))
    return counts / (SHOTS * (size * samples) ** 2)
