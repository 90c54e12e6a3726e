"""Whether a surface is closed, what it encloses, and which of its faces is nearest."""

import numpy as np
import pytest
import torch
import trimesh

from csd_blender.backend.geometry.manifold import enclosed_volume, open_edges
from csd_blender.backend.geometry.signed_distance import NearestFaces, outward, signed_distance


def cube() -> tuple[np.ndarray, np.ndarray]:
    shape = trimesh.creation.box((1.0, 2.0, 3.0))
    return np.float32(shape.vertices), np.int32(shape.faces)


def test_a_closed_mesh_has_no_open_edge_however_its_vertices_are_shared():
    vertices, triangles = cube()
    assert open_edges(vertices, triangles) == 0
    cut = vertices[triangles].reshape(-1, 3)  # every face has vertices of its own, as a file with UVs may have them
    assert open_edges(cut, np.arange(36).reshape(-1, 3)) == 0
    point = np.vstack([triangles, [[0, 0, 1]]])  # without area
    assert open_edges(vertices, point) == 0
    twice = np.vstack([triangles, triangles + 8])  # two that touch along an edge: four faces meet there
    assert open_edges(np.vstack([vertices, vertices + [1, 2, 0]]), twice) == 0


@pytest.mark.parametrize(("change", "opened"), [("a face is missing", 3), ("a face is turned", 3), ("one more", 3)])
def test_an_open_mesh_has_open_edges(change, opened):
    vertices, triangles = cube()
    if change == "a face is missing":
        triangles = triangles[1:]
    elif change == "a face is turned":
        triangles = np.vstack([triangles[:1, ::-1], triangles[1:]])
    else:
        triangles = np.vstack([triangles, triangles[:1]])
    assert open_edges(vertices, triangles) == opened


def test_the_volume_of_a_box_and_of_one_turned_inside_out():
    vertices, triangles = cube()
    assert enclosed_volume(vertices + [5, -3, 2], triangles) == pytest.approx(6, rel=1e-5)
    assert enclosed_volume(vertices, triangles[:, ::-1]) == pytest.approx(6, rel=1e-5)


def boxes(*rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes at (x, side, looks outward), as one mesh."""
    vertices, triangles = [], []
    for x, side, outside in rows:
        shape = trimesh.creation.box((side,) * 3, trimesh.transformations.translation_matrix((x, 0, 0)))
        faces = torch.tensor(shape.faces) + 8 * len(vertices)
        vertices.append(torch.tensor(np.float32(shape.vertices)))
        triangles.append(faces if outside else faces.flip(1))
    return torch.cat(vertices), torch.cat(triangles)


BODY, ARM = (0.0, 2.0, True), (3.0, 1.0, True)


@pytest.mark.parametrize(
    "rows",
    [
        [BODY, ARM], [BODY, (3.0, 1.0, False)], [(0.0, 2.0, False), ARM], [(0.0, 2.0, False), (3.0, 1.0, False)],
        [BODY, (1.2, 1.0, False)],  # half of it in the body
    ],
)  # fmt: skip
def test_pieces_that_look_inward_are_turned_each_by_itself(rows):
    vertices, triangles = boxes(*rows)
    expected = torch.cat([x if row[2] else x.flip(1) for x, row in zip(triangles.split(12), rows, strict=True)])
    assert torch.equal(outward(vertices, triangles), expected)
    middles = torch.tensor([[row[0], 0.0, 0.0] for row in rows] + [[9.0, 0, 0]])
    assert (signed_distance(middles, vertices, triangles) < 0).tolist() == [True] * len(rows) + [False]


@pytest.mark.parametrize("outside", [True, False])
def test_a_hollow_stays_hollow(outside):
    vertices, triangles = boxes((0.0, 3.0, outside), (0.0, 1.0, not outside))
    places = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    assert (signed_distance(places, vertices, triangles) < 0).tolist() == [False, True, False]


def test_the_nearest_face_is_the_one_whose_plane_a_point_of_a_cube_is_beside():
    shape = trimesh.creation.box((1.0, 1.0, 1.0))
    nearest = NearestFaces(torch.tensor(np.float32(shape.vertices)), torch.tensor(shape.faces))
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(200, 3, generator=generator) * 3 - 1.5
    axis = points.abs().argmax(1)  # of a cube around the origin, the side that is nearest
    outside = points.abs().amax(1) > 0.5
    clamped = points.clamp(-0.5, 0.5)
    alone = outside & ((points.abs() > 0.5).sum(1) == 1)  # beyond one side only: no edge is as near
    normals = torch.tensor(np.float32(shape.face_normals))[nearest(points)]
    rows = alone.nonzero()[:, 0]
    assert len(rows) > 30
    assert torch.equal(normals[rows].abs().argmax(1), axis[rows])
    assert ((normals * clamped).sum(1)[rows] > 0.49).all(), "the side on which the point lies"
    assert nearest(torch.empty(0, 3)).shape == (0,)
