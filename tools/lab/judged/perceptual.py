"""How different two pictures look, by the features of a network; and A-LPIPS, how much an orbit flickers.

The form of LPIPS (Zhang et al. 2018, 1801.03924): features of several layers, each pixel's scaled to unit length over
the channels, squared differences, mean over the picture, all layers together. Three networks can give the features: the
judge, the vision tower of a CLIP model, and the VGG-16 with learned weights that LPIPS itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from csd_blender.job.models.contents import read_header, unreadable

from ..mini.readers.judge import load_judge

#: From pictures ``[N, 3, H, W]`` in [0, 1] to features ``[N, channels, ...]``, of fine layers first.
Layers = Callable[[Tensor], Sequence[Tensor]]
#: From two stacks of N pictures to N distances.
Distance = Callable[[Tensor, Tensor], Tensor]
FRAMES = 100  # of an orbit
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def a_lpips(frames: Tensor, distance: Distance) -> float:
    """Mean perceptual distance between neighboring frames of an orbit; lower is steadier.

    As "Debiasing Scores and Prompts of 2D Diffusion" (D-SDS, 2303.15413) measures it over 100 frames, whose 99 pairs
    leave out that of the last and the first.

    Args:
        frames: ``[F, 3, H, W]`` in [0, 1], in the order of the orbit, at least two.
    """
    if frames.ndim != 4 or len(frames) < 2:
        raise ValueError(f"expected at least two pictures [F, 3, H, W], not {list(frames.shape)}")
    return float(distance(frames[:-1], frames[1:]).double().mean())


def by_layers(layers: Layers, weights: Sequence[Tensor] | None = None, at_once: int = 16) -> Distance:
    """The distance in the form of LPIPS over ``layers``.

    Args:
        weights: for each layer ``[channels]``, not negative, by which its channels' squared differences are summed;
            without them all channels and layers count alike (a plain sum over channels, the mean over layers).
    """

    @torch.no_grad()
    def distance(first: Tensor, second: Tensor) -> Tensor:
        found = []
        for a, b in zip(first.split(at_once), second.split(at_once), strict=True):
            total = torch.zeros(len(a))
            pairs = list(zip(layers(a), layers(b), strict=True))
            for i, (x, y) in enumerate(pairs):
                squares = (_unit(x) - _unit(y)).square().flatten(2).mean(2)  # [N, channels]
                total += squares.mean(1) * x.shape[1] / len(pairs) if weights is None else squares @ weights[i]
            found.append(total)
        return torch.cat(found)

    return distance


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + 1e-10)


def judge_distance() -> Distance:
    """By the bundled judge, for pictures of 64 x 64 pixels."""
    net = load_judge().net
    return by_layers(net.levels)


def clip_pictures(pictures: Tensor, size: int) -> Tensor:
    """Pictures as CLIP reads them: ``[N, 3, size, size]``, bicubic, less its mean and by its deviation."""
    if pictures.shape[-2:] != (size, size):
        pictures = F.interpolate(pictures, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (pictures - mean) / std


#: torchvision's numbers of the convolutions in VGG-16's ``features``; LPIPS looks after the second, fourth, seventh,
#: tenth and thirteenth.
_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_LOOKED_AT, _POOLED_BEFORE = (2, 7, 14, 21, 28), (5, 10, 17, 24)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def lpips_distance(file: Path) -> Distance:
    """LPIPS-VGG v0.1 from one safetensors file: torchvision's ``features.N.weight`` and ``.bias`` of VGG-16, and the
    learned weights ``lin0.model.1.weight`` to ``lin4.model.1.weight``.

    Pictures are prepared as D-SDS does it: 224 x 224, normalized for CLIP.

    Raises:
        JobError: ``model_unreadable`` naming what is missing.
    """
    wanted = [f"features.{n}.{part}" for n in _CONVOLUTIONS for part in ("weight", "bias")]
    wanted += [f"lin{k}.model.1.weight" for k in range(len(_LOOKED_AT))]
    held = read_header(file)
    lost = [name for name in wanted if name not in held]
    if lost:
        raise unreadable(f"{file} lacks {lost[0]}", "Put VGG-16 and the weights of LPIPS into one safetensors file.")
    tensors = {name: value.float() for name, value in load_file(file).items()}
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))

    def layers(pictures: Tensor) -> list[Tensor]:
        x, found = (clip_pictures(pictures, 224) - shift) / scale, []
        for n in _CONVOLUTIONS:
            x = F.max_pool2d(x, 2) if n in _POOLED_BEFORE else x
            x = F.relu(F.conv2d(x, tensors[f"features.{n}.weight"], tensors[f"features.{n}.bias"], padding=1))
            if n in _LOOKED_AT:
                found.append(x)
        return found

    try:
        learned = [tensors[f"lin{k}.model.1.weight"].flatten() for k in range(len(_LOOKED_AT))]
        distance = by_layers(layers, learned, at_once=4)
        distance(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))  # wrong shapes show here, not after an hour
    except RuntimeError as error:
        raise unreadable(f"{file} has weights of other shapes than those of VGG-16") from error
    return distance
