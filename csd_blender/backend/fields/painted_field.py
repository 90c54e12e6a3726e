"""A surface's own colors, and a field of what is to be changed about them: what edits optimize.

The start is looked up by face and place on it, with the very UV map that it was painted on; the changes are a field of
the position alone, as in :mod:`texture_field`, so that they know no seams.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .texture_field import TextureField

MARGIN = 0.02  # keeps logits finite: pure colors lie that far inside, and can be led back


class PaintedField(nn.Module):
    """Start colors, moved by a field of logits; with a fresh field exactly the start.

    Only the changes are parameters; the start belongs to the job's input and is in no checkpoint.

    Args:
        changes: the field of logits.
        corners: ``[F, 3, 3]`` where the corners of the surface's faces are, in the field's space.
        uv: ``[F, 3, 2]``, v up: where they look their picture up; it repeats.
        picture: ``[F]`` the picture of each face.
        pictures: ``[H, W, 3]`` each, sRGB in [0, 1], row 0 at v = 1.
        tint: ``[F, 3, 3]`` sRGB in [0, 1], which is multiplied; None for none.
        tint_linear: that is done in linear light.
        pixel: the least length that a picture of a step shows; 0 for any. Finer texels are averaged there, or they
            would be hit now and then only, and be noise to the model.
    """

    def __init__(
        self,
        changes: TextureField,
        corners: Tensor,
        uv: Tensor,
        picture: Tensor,
        pictures: list[Tensor],
        tint: Tensor | None = None,
        tint_linear: bool = False,
        pixel: float = 0.0,
    ) -> None:
        super().__init__()
        self.changes = changes
        self.tint_linear = tint_linear
        if tint is not None and tint_linear:
            tint = _decoded(tint)
        buffers = {"corners": corners, "uv": uv, "picture": picture.long(), "tint": tint}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        texel = [_texel(corners[picture == i], uv[picture == i], p) for i, p in enumerate(pictures)]
        #: As the length of finest cells: so a texture of the pictures' own size is baked of one sample a texel. Where
        #: nothing was changed it is theirs to the last bit; several samples would blur it.
        seen = [length for length, p in zip(texel, pictures, strict=True) if p.shape[:2] != (1, 1) and length > 0]
        self.cell = 1.6 * min(seen, default=2.0 / changes.levels[-1].resolution / 1.6)
        self.fine, self.coarse = [], []
        for i, (image, length) in enumerate(zip(pictures, texel, strict=True)):
            steps = int(pixel / length) if length > 0 else 1
            self.fine.append(self._keep(f"fine_{i}", _wrapped(image)))
            self.coarse.append(self._keep(f"coarse_{i}", _wrapped(_averaged(image, steps))))

    def _keep(self, name: str, value: Tensor) -> str:
        self.register_buffer(name, value, persistent=False)
        return name

    def at(self, points: Tensor, face: Tensor, exact: bool = False) -> Tensor:
        """Colors ``[N, 3]``, sRGB-encoded in [0, 1], differentiable with respect to the changes.

        Args:
            points: ``[N, 3]`` on or beside the faces ``[N]``; beyond a face's border it keeps the border's color.
            exact: the pictures as they are, for the result; else as the pictures of a step show them.
        """
        start = self.start(points, face, exact)
        inside = MARGIN + (1 - 2 * MARGIN) * start
        moved = torch.sigmoid(torch.logit(inside) + self.changes.logits(points))
        # Where nothing was moved the two logits are equal, and the start comes back to the last bit.
        colors = start + (moved - torch.sigmoid(torch.logit(inside))) / (1 - 2 * MARGIN)
        return _Bounded.apply(colors)

    @torch.no_grad()
    def start(self, points: Tensor, face: Tensor, exact: bool = False) -> Tensor:
        """The start's colors ``[N, 3]``, see :meth:`at`."""
        weights = face_weights(self.corners[face], points)
        uv = torch.einsum("nk,nkc->nc", weights, self.uv[face])
        colors, picture = torch.zeros(len(points), 3, device=points.device), self.picture[face]
        names = self.fine if exact else self.coarse
        for i, name in enumerate(names):
            chosen = (picture == i).nonzero()[:, 0] if len(names) > 1 else slice(None)
            colors[chosen] = _look_up(getattr(self, name), uv[chosen])
        if self.tint is None:
            return colors
        tint = torch.einsum("nk,nkc->nc", weights, self.tint[face])
        return _encoded(_decoded(colors) * tint) if self.tint_linear else colors * tint


def colors_at(field: Callable[[Tensor], Tensor], points: Tensor, face: Tensor, exact: bool = False) -> Tensor:
    """Colors of any field at points of a surface's faces; one that is painted on it is told the faces."""
    return field.at(points, face, exact) if isinstance(field, PaintedField) else field(points)


def face_weights(corners: Tensor, points: Tensor) -> Tensor:
    """Barycentric weights ``[N, 3]`` of ``points [N, 3]`` in the triangles ``[N, 3, 3]``, none negative."""
    a, b, c = corners.unbind(1)
    e, f, d = b - a, c - a, points - a
    normal = torch.linalg.cross(e, f)
    length = normal.square().sum(1).clamp_min(1e-30)
    v = (torch.linalg.cross(d, f) * normal).sum(1) / length
    w = (torch.linalg.cross(e, d) * normal).sum(1) / length
    weights = torch.stack([1 - v - w, v, w], dim=1).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


class _Bounded(torch.autograd.Function):
    """Colors held within [0, 1]. Beyond, what would lead further out is dropped, and what leads back is not: else a
    pure color would be lost to either."""

    @staticmethod
    def forward(ctx, colors: Tensor) -> Tensor:
        ctx.save_for_backward(colors)
        return colors.clamp(0, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (colors,) = ctx.saved_tensors
        outward = ((colors > 1) & (grad < 0)) | ((colors < 0) & (grad > 0))
        return grad.masked_fill(outward, 0.0)


def _look_up(wrapped: Tensor, uv: Tensor) -> Tensor:
    """Bilinear colors ``[N, 3]`` of a picture ``[1, 3, H + 2, W + 2]``, as :func:`_wrapped` made it."""
    height, width = wrapped.shape[2] - 2, wrapped.shape[3] - 2
    x = (uv[:, 0] - uv[:, 0].floor()) * width + 1
    y = (1 - (uv[:, 1] - uv[:, 1].floor())) * height + 1
    grid = torch.stack([x / (width + 2), y / (height + 2)], dim=1) * 2 - 1
    return F.grid_sample(wrapped, grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T


def _wrapped(picture: Tensor) -> Tensor:
    """``[H, W, 3]`` as ``[1, 3, H + 2, W + 2]``, continued by itself."""
    return F.pad(picture.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="circular").contiguous()


def _averaged(picture: Tensor, steps: int) -> Tensor:
    """``[H, W, 3]`` with about ``steps`` texels of each row and column brought together; a part of the sides stays."""
    height, width = picture.shape[:2]
    if steps <= 1 or min(height, width) < 2:
        return picture
    size = (max(1, round(height / steps)), max(1, round(width / steps)))
    return F.interpolate(picture.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)


def _decoded(colors: Tensor) -> Tensor:
    """sRGB to linear light (IEC 61966-2-1)."""
    return torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _encoded(light: Tensor) -> Tensor:
    """Inverse of :func:`_decoded`."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)


def _texel(corners: Tensor, uv: Tensor, picture: Tensor) -> float:
    """The usual length of a picture's texel on the surface; 0 where it has no area."""
    a, b, c = corners.double().unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1).sum()
    e, f = (uv[:, 1] - uv[:, 0]).double(), (uv[:, 2] - uv[:, 0]).double()
    texels = (e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]).abs().sum() * picture.shape[0] * picture.shape[1]
    return float((area / texels).sqrt()) if float(texels) > 0 else 0.0
