"""Every dialect of a mesh file is read right, or refused in one sentence that names what is wrong."""

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import Mesh, clean_mesh, face_cross, uv_areas
from csd_blender.backend.geometry.mesh_io import load_mesh
from csd_blender.job.errors import JobError
from tests.support.mesh_files import gltf_list, obj_samples, ply_stl_samples
from tests.support.mesh_files.shapes import Sample

SAMPLES = [*obj_samples.SAMPLES, *gltf_list.SAMPLES, *ply_stl_samples.SAMPLES]
READ = [sample for sample in SAMPLES if not sample.refused]
REFUSED = [sample for sample in SAMPLES if sample.refused]


def name_of(sample: Sample) -> str:
    return sample.name


def box_of(mesh: Mesh) -> np.ndarray:
    positions = mesh.positions.astype(np.float64) + mesh.offset
    return np.stack([positions.min(axis=0), positions.max(axis=0)])


def volume_of(mesh: Mesh) -> float:
    return float(np.linalg.det(mesh.positions[mesh.triangles].astype(np.float64)).sum() / 6)


@pytest.mark.parametrize("sample", READ, ids=name_of)
def test_what_a_file_holds_is_read_to_the_measure(sample, tmp_path):
    mesh, _ = clean_mesh(load_mesh(sample.write(tmp_path)))
    area = np.linalg.norm(face_cross(mesh.positions, mesh.triangles), axis=1).sum() / 2
    assert area == pytest.approx(sample.area, rel=1e-3 if mesh.offset.any() else 1e-5)
    size = np.ptp(np.array(sample.box), axis=0).max()
    assert np.allclose(box_of(mesh), sample.box, rtol=1e-12, atol=1e-5 * size)
    if sample.volume is not None:
        assert volume_of(mesh) == pytest.approx(sample.volume, rel=1e-3)  # positive: the faces look outside
    if sample.facing:
        whole = face_cross(mesh.positions, mesh.triangles).sum(axis=0) / 2
        assert np.allclose(whole, np.array(sample.facing) * sample.area)
    assert (mesh.uv is None) == (sample.uv is None)
    if sample.uv is not None:
        assert uv_areas(mesh.uv).sum() == pytest.approx(sample.uv, rel=1e-3)  # positive: nothing is mirrored


@pytest.mark.parametrize("sample", REFUSED, ids=name_of)
def test_what_cannot_be_read_is_refused_by_name(sample, tmp_path):
    with pytest.raises(JobError) as caught:
        clean_mesh(load_mesh(sample.write(tmp_path)))
    message = caught.value.message
    assert all(word in message for word in sample.refused), message
    assert len(message) <= 300 and "\n" not in message and message.isprintable()
    assert sample.name in message or caught.value.code == "mesh_not_finite"


def test_a_texture_transform_turns_uvs_as_blenders_mapping_node_would(tmp_path):
    offset, rotation, scale = (0.3, -0.2), 0.7, (0.5, 2.0)
    sample = gltf_list.textured({"offset": offset, "rotation": rotation, "scale": scale}).file("turned")
    mesh = load_mesh(sample.write(tmp_path))
    before = load_mesh(gltf_list.corners().file("plain").write(tmp_path)).uv
    c, s = np.cos(rotation), np.sin(rotation)
    place = np.array([offset[0] + scale[1] * s, 1 - offset[1] - scale[1] * c])  # of the node, for a map whose v goes up
    assert np.allclose(mesh.uv, (before * scale) @ np.array([[c, s], [-s, c]]) + place, atol=1e-5)
