"""The user's UV map is kept when it can carry a texture; else a good new one is made, whatever the mesh."""

import numpy as np
import pytest
import trimesh

from csd_blender.backend.geometry.mesh import Mesh, clean_mesh, merge
from csd_blender.backend.texture import unwrap as unwrap_module
from csd_blender.backend.texture.project import face_neighbors, project_unwrap
from csd_blender.backend.texture.unwrap import UVCheck, check_uv, choose_uv, run_xatlas, unwrap, usable_uv
from csd_blender.job.errors import JobError
from tools.lab.demo_meshes import demo_mesh


def small_ball() -> Mesh:
    rock = demo_mesh("mug")
    faces = rock.triangles[:2000]
    return clean_mesh(Mesh(rock.positions, faces))[0]


def assert_good(mesh: Mesh, uv: np.ndarray) -> None:
    found = check_uv(Mesh(mesh.positions, mesh.triangles, uv), 0)
    assert found.reason == "" and found.overlap < 0.005 and uv.min() >= 0 and uv.max() <= 1


@pytest.mark.parametrize("name", ["mug", "vase", "knot"])
def test_good_uvs_are_usable(name):
    assert usable_uv(demo_mesh(name), 0) == (True, "")


def changed(change) -> Mesh:
    mesh = demo_mesh("knot")
    mesh.uv = np.float32(change(mesh.uv))
    return mesh


@pytest.mark.parametrize(
    "change,word",
    [
        (lambda uv: uv * 2 - 0.3, "outside"),
        (lambda uv: uv + 1.0, "outside"),
        (lambda uv: np.where(uv[..., :1] > 0.5, 1 - uv, uv), "more than one"),
        (lambda uv: uv * 0.01, "only"),
        (lambda uv: uv * [1, 0], "no area"),
        (lambda uv: uv * 0, "no UV map"),
    ],
)
def test_bad_uvs_are_refused_with_the_reason(change, word):
    usable, reason = usable_uv(changed(change), 0)
    assert not usable and word in reason


def test_faces_that_share_a_place_in_the_map_count_by_their_surface_not_by_the_texels():
    """Two of a cube's sides in the same small square of the map, as a lazy unwrap leaves them."""
    box = trimesh.creation.box()
    places = [(0.0, 0.0), (0.35, 0.0), (0.7, 0.0), (0.0, 0.35)]
    uv = np.zeros((12, 3, 2), np.float32)
    sides = {tuple(normal): i for i, normal in enumerate(np.unique(np.round(box.face_normals), axis=0))}
    for face, normal in enumerate(np.round(box.face_normals)):
        side = sides[tuple(normal)]
        flat = box.vertices[box.faces[face]][:, np.abs(normal) < 0.5] + 0.5
        uv[face] = flat * 0.3 + places[side] if side < 4 else flat * 0.1 + (0.8, 0.8)
    mesh = Mesh(np.float32(box.vertices), np.int32(box.faces), uv)
    found = check_uv(mesh, 0)
    assert found.overlap < 0.03 and found.shared == pytest.approx(1 / 3, abs=1e-6)
    assert "33% of the surface shares" in UVCheck(0.0, 0.01, 0.0, 0.5, found.shared).reason


def test_mirrored_islands_and_tiny_overlaps_are_fine():
    assert usable_uv(changed(lambda uv: uv * [-1, 1] + [1, 0]), 0)[0]
    assert usable_uv(changed(lambda uv: np.clip(uv * 1.0005, 0, 1.0005)), 0)[0]


def strips(overlapping: int) -> Mesh:
    """A hundred squares in a row of equal UV islands, the last ``overlapping`` of them moved onto their neighbors."""
    left = np.arange(100)
    square = ((0, 0), (1, 0), (1, 1), (0, 1))
    corners = np.stack([np.stack([left + x, np.full(100, y), np.zeros(100)], 1) for x, y in square], 1)
    triangles = (4 * left[:, None, None] + np.int32([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    uv = corners[..., :2] * [0.01, 1.0]
    uv[100 - overlapping :] -= [0.01 * overlapping, 0]
    return Mesh(np.float32(corners.reshape(-1, 3)), triangles, np.float32(uv.reshape(-1, 2)[triangles]))


@pytest.mark.parametrize("overlapping, usable", [(0, True), (1, True), (3, False), (10, False)])
def test_two_percent_of_overlap_are_the_limit(overlapping, usable):
    mesh = strips(overlapping)
    assert check_uv(mesh, 0).overlap == pytest.approx(overlapping / (100 - overlapping), abs=2e-3)
    assert usable_uv(mesh, 0)[0] == usable


def test_a_single_face_outside_of_the_tile_is_one_too_many():
    """Its texels would wrap around onto another face, or be cut off."""
    mesh = demo_mesh("knot")
    mesh.uv = mesh.uv * np.float32(0.5)
    mesh.uv[7] += np.float32([1.0, 0.0])
    usable, reason = usable_uv(mesh, 0)
    assert not usable and "outside" in reason


def test_a_mesh_without_uvs_or_with_overlapping_ones_is_unwrapped_anew():
    assert not usable_uv(demo_mesh("crate"), 0)[0] and not usable_uv(demo_mesh("rock"), 0)[0]
    mesh, said = demo_mesh("crate"), []
    mesh = Mesh(mesh.positions, mesh.triangles[:600], mesh.uv[:600])
    uv, sources = choose_uv(mesh, warn=lambda code, text: said.append(code))
    assert sources == ["new"] and said == ["uv_new"]
    assert_good(mesh, uv)


def test_each_part_is_judged_alone():
    mesh = merge([demo_mesh("mug"), demo_mesh("crate")])
    uv, sources = choose_uv(mesh)
    assert sources == ["user", "new"]
    assert np.array_equal(uv[mesh.part == 0], mesh.uv[mesh.part == 0])
    assert not np.array_equal(uv[mesh.part == 1], mesh.uv[mesh.part == 1])


def test_modes_keep_and_new_do_what_they_say():
    knot, crate, said = demo_mesh("knot"), demo_mesh("crate"), []
    uv, sources = choose_uv(crate, "keep", warn=lambda code, text: said.append(code))
    assert sources == ["user"] and np.array_equal(uv, crate.uv) and said == ["uv_overlap"]
    small = Mesh(knot.positions, knot.triangles[:500], knot.uv[:500])
    assert choose_uv(small, "new")[1] == ["new"]
    with pytest.raises(JobError) as caught:
        choose_uv(demo_mesh("rock"), "keep")
    assert caught.value.code == "uv_missing"
    with pytest.raises(JobError) as caught:
        choose_uv(changed(lambda uv: uv * 1e6), "keep")
    assert caught.value.code == "uv_overlap"


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_unwrapping_does_not_depend_on_the_unit_of_length(scale):
    mesh = small_ball()
    mesh.positions = mesh.positions * np.float32(scale)
    uv = unwrap(mesh, 0)
    assert_good(mesh, uv)


def test_faces_without_area_and_non_manifold_edges_are_unwrapped_too():
    mesh = small_ball()
    extra = np.int32([[0, 0, 1], [mesh.triangles[0][0], mesh.triangles[0][1], len(mesh.positions)]])
    fin = mesh.positions[:1] + np.float32([0.3, 0.3, 0.3])
    odd = Mesh(np.concatenate([mesh.positions, fin]), np.concatenate([mesh.triangles, extra, mesh.triangles[:3]]))
    uv, _ = choose_uv(odd)
    assert uv.shape == (len(odd.triangles), 3, 2) and not uv[len(mesh.triangles)].any()
    assert check_uv(Mesh(odd.positions, odd.triangles, uv), 0).overlap < 0.01


def test_when_xatlas_takes_too_long_a_simpler_map_is_made(monkeypatch):
    said = []
    mesh = demo_mesh("teapot")
    uv = unwrap(mesh, 0, timeout=0.05, warn=lambda code, text: said.append(code))
    assert said == ["unwrap_simple"]
    assert_good(mesh, uv)


def test_a_cancelled_unwrapping_ends_at_once():
    mesh = demo_mesh("teapot")
    with pytest.raises(JobError) as caught:
        run_xatlas(mesh.positions, mesh.triangles, 60, cancelled=lambda: True)
    assert caught.value.code == "cancelled"


def test_when_xatlas_fails_a_simpler_map_is_made(monkeypatch):
    monkeypatch.setattr(unwrap_module, "run_xatlas", lambda *given: None)
    mesh = demo_mesh("rock")
    assert_good(mesh, unwrap(mesh, 0))


@pytest.mark.parametrize("name", ["teapot", "rock", "knot", "crate"])
def test_projection_unwraps_anything(name):
    mesh = demo_mesh(name)
    uv = project_unwrap(mesh.positions, mesh.triangles)
    assert_good(mesh, uv)


def test_projection_survives_triangle_soup():
    random = np.random.default_rng(0)
    corners = random.normal(size=(5000, 1, 3)) + 0.05 * random.normal(size=(5000, 3, 3))
    soup = Mesh(corners.reshape(-1, 3), np.arange(15000).reshape(-1, 3))
    assert_good(soup, project_unwrap(soup.positions, soup.triangles))


def test_projection_separates_layers_that_lie_over_each_other():
    """A spiral ramp: one connected surface, every turn over the last, all facing up."""
    t, r = np.meshgrid(np.linspace(0, 6 * np.pi, 200), [0.4, 1.0], indexing="ij")
    points = np.stack([r * np.cos(t), r * np.sin(t), 0.1 * t], axis=-1).reshape(-1, 3)
    a = np.arange(199) * 2
    triangles = np.concatenate([np.stack([a, a + 1, a + 3], 1), np.stack([a, a + 3, a + 2], 1)])
    ramp = Mesh(points, triangles)
    assert_good(ramp, project_unwrap(ramp.positions, ramp.triangles))


def test_neighbors_are_found_across_vertices_at_the_same_place():
    points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert face_neighbors(points, np.int32([[0, 1, 2], [3, 5, 4]])).tolist() == [[0, 1]]
