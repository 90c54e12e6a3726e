"""From where a job looks at what it makes."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import choice, interval, number, switch

ELEVATION_LAWS = ("camera", "batch", "csd")
VIEWS_AT_ONCE = 4  # of one thing, that MVDream's networks put side by side
DISTANCE_UNITS = ("scene", "frame")


@dataclass(frozen=True)
class CameraRange:
    """From where the mesh is looked at.

    Attributes:
        elevation: degrees above the horizon.
        fov_y: vertical field of view in degrees.
        zoom: apparent radius of the whole mesh relative to half the picture.
        close_share: share of cameras that see only a part, with ``close_zoom``.
        below_share: share of cameras that look from below ``elevation``.
    """

    elevation: tuple = interval(-90, 90, (-15.0, 60.0))
    fov_y: tuple = interval(5, 120, (28.0, 50.0))
    zoom: tuple = interval(0.1, 10, (0.7, 1.05))
    close_zoom: tuple = interval(0.1, 10, (1.4, 2.4))
    close_share: float = number(0, 1, 0.25)
    below_share: float = number(0, 1, 0.1)


@dataclass(frozen=True)
class SceneCameras:
    """From where the scene is looked at; it is centered at the origin.

    Attributes:
        elevation: degrees above the horizon. distance: from the origin, in scene units.
        fov_y: vertical field of view in degrees.
        front_back_steps: so many first steps look at the front and the back only, 30 degrees to either side.
        elevation_law: elevations are half the time uniform in degrees, else uniform on the sphere; a coin decides for
            each ``camera``, or for the whole ``batch`` (threestudio). ``csd`` is as CSD's code has it: for the batch,
            and the second law has the sine uniform between the limits over 90 degrees (-10..45 becomes -6.4..30).
        position_noise: up to so far a camera is away from its place, along each axis, in scene units.
        center_noise: standard deviation of the point it looks at, along each axis, around the origin.
        up_noise: standard deviation of its upward direction, along each axis, around that of the scene.
        ring: cameras come in rings of so many around the scene, evenly, alike in all else, for a model that sees them
            at once; their lamps and backgrounds are alike, too. 0 or 1: each by itself.
        distance_unit: ``distance`` is in units of the ``scene``; or in half heights of the ``frame`` at the origin, so
            that things look equally large through every field of view.
        after_picture: the model is told a picture of the thing and the way from its camera to each of these, and no
            prompt; the picture's camera is that of azimuth 0 at the nearest distance.
        front_angle: pictures from less than so many degrees off the front (the back) are called so in the prompt.
    """

    elevation: tuple = interval(-90, 90, (-10.0, 45.0))
    distance: tuple = interval(0.5, 20, (1.5, 2.0))
    fov_y: tuple = interval(5, 120, (40.0, 70.0))
    front_back_steps: int = number(0, 100000, 0)
    elevation_law: str = choice(ELEVATION_LAWS, "camera", added=True)
    position_noise: float = number(0, 1, 0.0, added=True)
    center_noise: float = number(0, 1, 0.0, added=True)
    up_noise: float = number(0, 1, 0.0, added=True)
    front_angle: float = number(0, 90, 45.0, added=True)
    ring: int = number(0, 16, 0, added=True)
    distance_unit: str = choice(DISTANCE_UNITS, "scene", added=True)
    after_picture: bool = switch(False, added=True)

    def complaint(self, where: str) -> str:
        """What does not go together; ``where`` stands before a setting's name."""
        if self.ring not in (0, 1, VIEWS_AT_ONCE):  # others would be of two things, or of half a one
            return f"{where}ring is {self.ring}, allowed is 4, the views that an MVDream draws at once, or 0 for none"
        if self.ring > 1 and self.front_back_steps:
            return f"a ring looks from all around; set {where}ring or {where}front_back_steps to 0"
        if self.ring > 1 and self.after_picture:
            return f"a model is told a picture or a ring; set {where}ring to 0 or {where}after_picture to false"
        if self.after_picture and self.distance_unit != "scene":
            return f"the picture's camera has its distance in the scene; set {where}distance_unit to scene"
        return ""

    @property
    def tells(self) -> str:
        """What the model is told that looks through these, see :class:`~csd_blender.job.models.families.Family`."""
        if self.after_picture:
            return "picture"
        return "views" if self.ring > 1 else "prompt"

    def broken_ring(self, counts: dict[str, int], where: str) -> str:
        """What is amiss where so many pictures, by the setting's name, make no whole rings; empty when all do."""
        for name, count in counts.items():
            if count % max(self.ring, 1):
                return f"{where}{name} is {count}, allowed is a multiple of {where}cameras.ring, {self.ring}"
        return ""
