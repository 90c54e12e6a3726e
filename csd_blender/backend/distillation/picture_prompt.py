"""What a model is told that draws other sides of a pictured thing (Zero-1-to-3), in the place of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from ..diffusion.views.zero123 import Shown, Zero123, pose
from ..render.cameras import Cameras
from .view_prompts import PromptBatch


@dataclass(frozen=True)
class PicturePrompt:
    """A picture, and the camera that took it.

    Attributes:
        model: that is told it. shown: as the model sees it.
        elevation: of the picture's camera, degrees; its azimuth is 0. distance: from the origin, in units in which
            things are about as large as those that the model was trained on.
    """

    model: Zero123
    shown: Shown
    elevation: float
    distance: float
    branches = ("positive", "negative", "null")
    has_negative = False

    def batch(self, cameras: Cameras) -> PromptBatch:
        """The conditions of a batch of cameras: the picture and the way from its camera; without both for the empty
        branch, and for the negative one, which is the same here."""
        where = cameras.to("cpu")
        ways = pose(where.elevation - self.elevation, where.azimuth, where.distance - self.distance)
        told, empty = self.model.conditions(self.shown, ways), self.model.empty(len(where))
        return PromptBatch({"positive": told, "negative": empty, "null": empty}, plain=told)
