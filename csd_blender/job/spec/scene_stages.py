"""The two stages of text to 3D: what a job may set of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from .cameras import SceneCameras
from .fields import choice, number, schedule, switch
from .guidance import WEIGHTINGS, Guidance
from .methods import METHODS
from .schedule import Schedule

LAMPS = ("studio", "dreamfusion", "magic3d")
NORMALS = ("taps", "analytic")
COLOR_ACTIVATIONS = ("sigmoid", "linear")
SHAPES = ("vertices", "network")
BACKGROUNDS = ("colors", "learned", "white")
NORMALS_BACKGROUNDS = ("other", "black")


@dataclass(frozen=True)
class CoarseStage:
    """A radiance field, rendered as a volume.

    Attributes:
        steps: 0 leaves the stage out. views: pictures in each step, ``render_size`` pixels wide; 0 is the model's own.
        later_size, later_views: side and number of the pictures from step ``later_size_step`` on; 0 keeps them.
        learning_rate: of Adam. network_rate: of the networks behind the grid; 0 is the same.
        decay: weight decay (AdamW).
        radius: half the side of the scene's box.
        levels, base_resolution, finest_resolution: of the hash grid; cells per axis of the box.
        network_width: 0 sums the levels, which then hold density and color themselves; else they hold two features
            each, and density and color come out of one hidden layer of this width. The refine stage's colors follow.
        start_level: so many levels, the coarsest, count at first; 0 is all. Only with a network.
        level_start, level_interval: from that step on there is one more, and another one each so many steps.
        color_activation: a network's colors (the background's too) pass a ``sigmoid``, or are ``linear``, half the
            value plus a half, as threestudio has it with DeepFloyd IF. Only with a network.
        normals: by four ``taps`` into the field, or ``analytic``, the field's own slope.
        ray_samples: samples along the box's diagonal.
        blob_scale, blob_std: of the density that the field starts from, and keeps as its bias.
        ambient_only_steps: until then all pictures show the bare color.
        shaded_share: of the pictures after that, those that are not the bare color.
        textureless_share: of these, the ones that show the shape alone; the rest show lit color.
        textureless_normals: shape alone means normals as colors; else it is lit white.
        background: behind the other steps' pictures, that is those without random colors: ``colors`` are black or
            white (and random ones every second time gray); ``white``; or ``learned``, a small network of the direction.
        background_rate: learning rate of that network.
        random_background: share of steps with random background colors, one for each picture.
        orientation, sparsity, opaque, z_variance, convexity: weights of the regularizers.
        adam_beta2: how long Adam remembers the size of gradients.
        score_weight: of the score beside the regularizers and the picture.
        picture_every: of so many steps one compares with the job's picture in place of asking the model; 0: none does.
        picture_size: side in pixels of what is compared. picture_color, picture_mask: weights of the mean square of the
            difference to its colors, where it shows the thing, and to its outline.
        lamp: ``studio`` shines from beside and above the camera; ``dreamfusion`` and ``magic3d`` are points near it,
            drawn as threestudio draws them.
        soft_shading: in each step chance divides the light of these two between all around and the lamp (Magic3D); else
            it is a tenth and nine tenths.
    """

    steps: int = number(0, 100000, 10000, label="Coarse Steps", help="Steps in which the shape is found")
    views: int = number(1, 16, 1)
    render_size: int = number(0, 512, 64)
    later_size: int = number(0, 1024, 0, added=True)
    later_views: int = number(0, 16, 0, added=True)
    later_size_step: int = number(0, 1000000, 0, added=True)
    learning_rate: float = number(1e-6, 1, 1e-3)
    network_rate: float = number(0, 1, 0.0, added=True)
    decay: float = number(0, 10, 0.0, added=True)
    radius: float = number(0.1, 10, 1.0)
    levels: int = number(1, 16, 12)
    base_resolution: int = number(4, 128, 16)
    finest_resolution: int = number(16, 4096, 512)
    network_width: int = number(0, 256, 0, added=True)
    start_level: int = number(0, 16, 0, added=True)
    level_start: int = number(0, 100000, 0, added=True)
    level_interval: int = number(1, 100000, 500, added=True)
    color_activation: str = choice(COLOR_ACTIVATIONS, "sigmoid", added=True)
    normals: str = choice(NORMALS, "taps", added=True)
    ray_samples: int = number(16, 2048, 512)
    blob_scale: float = number(-100, 100, 10.0)
    blob_std: float = number(0.01, 10, 0.5)
    ambient_only_steps: int = number(0, 100000, 5001)
    shaded_share: float = number(0, 1, 0.5)
    textureless_share: float = number(0, 1, 1.0)
    textureless_normals: bool = True
    background: str = choice(BACKGROUNDS, "colors", added=True)
    background_rate: float = number(1e-6, 1, 1e-3, added=True)
    random_background: float = number(0, 1, 0.5)
    orientation: Schedule = schedule(0, 1e5, 0.0)
    sparsity: Schedule = schedule(0, 1e5, 0.0)
    opaque: Schedule = schedule(0, 1e5, 0.0)
    z_variance: Schedule = schedule(0, 1e5, 0.0, added=True)
    convexity: Schedule = schedule(0, 1e5, 0.0, added=True)
    adam_beta2: float = number(0.5, 0.99999, 0.99, added=True)
    score_weight: float = number(0, 1e6, 1.0, added=True)
    picture_every: int = number(0, 1000, 0, added=True)
    picture_size: int = number(16, 1024, 192, added=True)
    picture_color: float = number(0, 1e6, 0.0, added=True)
    picture_mask: float = number(0, 1e6, 0.0, added=True)
    lamp: str = choice(LAMPS, "studio", added=True)
    soft_shading: bool = switch(False, added=True)
    cameras: SceneCameras = field(default_factory=SceneCameras)
    guidance: Guidance = field(default_factory=Guidance)

    def complaint(self, where: str) -> str:
        """What does not go together; ``where`` stands before a setting's name."""
        if self.picture_every and not self.cameras.after_picture:
            return f"{where}picture_every compares with a picture; set it to 0, or {where}cameras.after_picture to true"
        return self.cameras.broken_ring({"views": self.views, "later_views": self.later_views}, where)


@dataclass(frozen=True)
class RefineStage:
    """A tetrahedral mesh, rasterized.

    Attributes:
        steps: 0 leaves the optimization out; the field is still turned into a mesh.
        tet_resolution: cells per axis of the tetrahedral grid.
        shape: each vertex of that grid has a signed distance of its own, or all come from a ``network``: a hash grid as
            the coarse stage's, with one hidden layer, that is fitted to the shape to start from.
        threshold: density at which the coarse field's surface lies; 0 takes the density where pictures see it.
        mean_threshold: take the mean density of the part of the box that is not empty instead (Magic3D).
        learning_rate: of Adam, for the shape. color_rate: the same for the colors.
        color_network_rate: of these, for the network behind their grid; 0 for the same as the grid's.
        color_decay: weight decay of the colors and of a learned background; it holds over-saturation back.
        shape_decay: of the shape.
        normals_share: of the pictures, those that show normals as colors.
        normals_only_steps: until then all do (the geometry stage of Fantasia3D).
        latent_steps: so many first steps of normals do not pass the encoder of a latent model: normals and mask stand
            for the four latents themselves, made smaller (Fantasia3D's warm-up).
        normals_background: behind normals is what is behind ``other`` pictures, or ``black``.
        background, background_rate, random_background: as in the coarse stage.
        shaded_share: of the other pictures, those that a lamp shines on; the rest show the bare color.
        textureless_share: of these, the ones in white.
        fixed_shape_after: from this step on the shape stays as it is.
        appearance_weighting: w(t) from that step on; empty for the one in ``guidance``.
        appearance_scale: guidance scale from that step on, in the convention ``s``; 0 for the one in ``guidance``.
        appearance_front_angle: front and back from that step on, as in ``cameras``; 0 for what stands there.
        times_restart: ``t_min`` and ``t_max`` of ``guidance`` begin anew at that step.
        geometry_method: the method until then; empty for the job's.
        normal_consistency, laplacian: weights of the regularizers.
        fit_start: an ellipsoid or a mesh to start from is made so small that all cameras see it whole.
        rates_fall: both learning rates fall to a twentieth over the last half of the steps; else they are constant.
        adam_beta2, lamp, soft_shading: as in the coarse stage.
    """

    steps: int = number(
        0, 100000, 10000, label="Refine Steps", help="Steps that sharpen shape and surface once there is a mesh"
    )
    views: int = number(1, 16, 1)
    render_size: int = number(0, 1024, 512)
    tet_resolution: int = number(8, 256, 256)
    shape: str = choice(SHAPES, "vertices", added=True)
    threshold: float = number(0, 1000, 10.0)
    learning_rate: float = number(1e-6, 1, 1e-3)
    color_rate: float = number(1e-6, 1, 1e-3)
    color_network_rate: float = number(0, 1, 0.0, added=True)
    color_decay: Schedule = schedule(0, 10, 0.0)
    shape_decay: float = number(0, 10, 0.0, added=True)
    normals_share: float = number(0, 1, 0.5)
    normals_only_steps: int = number(0, 100000, 0)
    latent_steps: int = number(0, 100000, 0, added=True)
    normals_background: str = choice(NORMALS_BACKGROUNDS, "other", added=True)
    shaded_share: float = number(0, 1, 0.0)
    textureless_share: float = number(0, 1, 0.0)
    fixed_shape_after: int = number(0, 1000000, 1000000)
    appearance_weighting: str = choice(("", *WEIGHTINGS), "")
    appearance_scale: float = number(0, 200, 0.0, added=True)
    appearance_front_angle: float = number(0, 90, 0.0, added=True)
    times_restart: bool = switch(False, added=True)
    geometry_method: str = choice(("", *METHODS), "", added=True)
    background: str = choice(BACKGROUNDS, "colors", added=True)
    background_rate: float = number(1e-6, 1, 1e-3, added=True)
    random_background: float = number(0, 1, 0.5)
    normal_consistency: float = number(0, 1e6, 1000.0)
    laplacian: float = number(0, 1e6, 0.0)
    mean_threshold: bool = switch(False, added=True)
    fit_start: bool = switch(False, added=True)
    rates_fall: bool = switch(True, added=True)
    adam_beta2: float = number(0.5, 0.99999, 0.99, added=True)
    lamp: str = choice(LAMPS, "studio", added=True)
    soft_shading: bool = switch(False, added=True)
    cameras: SceneCameras = field(default_factory=SceneCameras)
    guidance: Guidance = field(default_factory=Guidance)

    def complaint(self, where: str) -> str:
        """As in the coarse stage."""
        return self.cameras.broken_ring({"views": self.views}, where)
