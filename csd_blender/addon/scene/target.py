"""What a job remembers of an object that it textures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Target:
    """One textured object: how to find it again, and how the job's triangles lead back to its mesh.

    Attributes:
        name, uid: the object's name, and its ``session_uid`` in this Blender session.
        saved_name: the name it has in the file, where it was renamed since that was saved; else empty. Not stored.
        uv_layer: the UV map that was exported, empty when there was none.
        modifiers: ``keep``, ``apply`` or ``ignore``.
        maps_back: whether triangle corners are corners of the object's own mesh.
        topology: fingerprint of the mesh that the corners belong to.
        corner_count: how many corners (loops) that mesh has.
        corners: int32 ``[F, 3]``, the mesh corner (loop) of every triangle corner.
        own_topology: fingerprint of the object's own mesh, without its modifiers.
        own_uv: float32 ``[corners of the own mesh, 2]``, what ``uv_layer`` of the own mesh held; empty when the own
            mesh had no such map (its modifiers make it).
        own_shape: where the own mesh had its vertices (:func:`export.shape_of`); empty in folders of older versions.
        others: names of the other mesh objects of the file when the job began, none of which is this one renamed.
    """

    name: str
    uid: int
    uv_layer: str
    modifiers: str
    maps_back: bool
    topology: str
    corner_count: int
    corners: np.ndarray = field(repr=False)
    own_topology: str = ""
    own_uv: np.ndarray = field(repr=False, default_factory=lambda: np.zeros((0, 2), np.float32))
    own_shape: str = ""
    others: list[str] = field(default_factory=list)
    saved_name: str = ""

    @property
    def replaces_mesh(self) -> bool:
        """Whether accepting gives the object a mesh of its own, with its modifiers applied."""
        return self.modifiers == "apply" and not self.maps_back
