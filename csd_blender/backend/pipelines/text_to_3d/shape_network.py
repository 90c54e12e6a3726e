"""The refine stage's shape as a network (Fantasia3D), made for a job."""

from __future__ import annotations

import torch

from ....job.errors import JobError
from ....job.spec.text_to_3d import TextTo3DJob
from ...fields.sdf_network import NetworkGeometry, whole_scene
from ...geometry.tet_geometry import TetGeometry
from ...geometry.tet_grid import TetGrid
from .coarse import log2_table_size

SHAPE_WIDTH = 64  # of the hidden layers where the coarse stage has none


def network_geometry(job: TextTo3DJob, grid: TetGrid) -> NetworkGeometry:
    """The stage's shape network, fresh; its hash grid is the coarse stage's."""
    stage = job.coarse
    return NetworkGeometry(
        grid,
        stage.radius,
        levels=stage.levels,
        base_resolution=stage.base_resolution,
        finest_resolution=stage.finest_resolution,
        log2_table_size=log2_table_size(stage),
        width=stage.network_width or SHAPE_WIDTH,
        seed=job.seed,
    )


def fitted_network(job: TextTo3DJob, start: TetGeometry) -> NetworkGeometry:
    """A shape network that has taken on the shape to start from. Raises ``JobError('mesh_unusable')``."""
    geometry = network_geometry(job, whole_scene(job.refine.tet_resolution, job.coarse.radius)).to(start.sdf.device)
    with torch.no_grad():
        vertices, triangles = start()
    try:
        geometry.fit(vertices, triangles, job.seed)
    except ValueError as error:
        raise JobError("mesh_unusable", str(error)) from None
    return geometry
