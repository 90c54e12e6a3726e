"""The one place where kernels are launched: what it shares out, what it refuses, and that nobody goes around it."""

import re
from pathlib import Path

import pytest
import torch
import warp as wp

from csd_blender.backend.support import warp_launch
from csd_blender.backend.support.warp_launch import (
    home_of,
    launch,
    launch_levels,
    launch_parts,
    launch_views,
    load,
    shares,
    splits,
    triangle_tree,
)

CPU = torch.device("cpu")
BACKEND = Path(warp_launch.__file__).parents[1]


@wp.kernel(enable_backward=False)
def number_items(first: int, out: wp.array(dtype=wp.vec2)):
    i = first + wp.tid()
    out[i] = wp.vec2(float(i), out[i][1] + 1.0)


@wp.kernel(enable_backward=False)
def add_rows(offset: wp.array(dtype=float), rows: wp.array2d(dtype=float), out: wp.array2d(dtype=float)):
    b, i = wp.tid()
    out[b, i] = out[b, i] + rows[b, i] + offset[i]


@wp.kernel(enable_backward=False)
def count_levels(level: int, last_level: int, out: wp.array(dtype=int)):
    for i in range(level, last_level):
        wp.atomic_add(out, i, 1)


@wp.kernel(enable_backward=False)
def distance(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), out: wp.array(dtype=float)):
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], 10.0)
    out[i] = wp.length(points[i] - wp.mesh_eval_position(mesh, query.face, query.u, query.v))


@pytest.fixture(params=[1, 3])
def threads(request):
    """With as many of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 4096, 20_001])
def test_every_item_is_worked_on_once_however_many_threads_there_are(count, threads):
    load(number_items, CPU)
    out = torch.zeros(count, 2)
    launch_parts(number_items, count, [out], CPU)
    assert torch.equal(out[:, 0], torch.arange(count).float()) and (out[:, 1] == 1).all()


def test_ranges_follow_one_another_and_small_ones_stay_whole(threads):
    cut = shares(20_001, CPU)
    assert len(cut) == threads and cut[0][0] == 0 and cut[-1][1] == 20_001
    assert all(a[1] == b[0] for a, b in zip(cut, cut[1:], strict=False))
    assert shares(4096, CPU) == [(0, 4096)] and shares(0, CPU) == []


@pytest.mark.parametrize("views", [1, 2, 5])
def test_views_are_shared_out_and_what_they_have_in_common_is_not(views, threads):
    load(add_rows, CPU)
    rows, offset = torch.rand(views, 6000), torch.rand(6000)
    out = torch.zeros_like(rows)
    launch_views(add_rows, (views, 6000), [offset, rows, out], ("rows", "out"), CPU)
    assert torch.equal(out, rows + offset)


def test_every_level_is_worked_on_by_every_item(threads):
    load(count_levels, CPU)
    out = torch.zeros(5, dtype=torch.int32)
    launch_levels(count_levels, 7, 5, [out], CPU)
    assert out.tolist() == [7] * 5
    launch_levels(count_levels, 0, 5, [out], CPU)
    assert out.tolist() == [7] * 5


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (torch.zeros(3, 2, dtype=torch.float64), r"\[3, 2\] of float64 as vec2"),
        (torch.zeros(3, 3), r"\[3, 3\] of float32 as vec2"),
        (torch.zeros(2, 3).T, r"\[3, 2\] of float32 as vec2"),
        (torch.zeros(3, 2, device="meta"), "out is on meta, but number_items runs on cpu"),
    ],
)
def test_a_tensor_that_the_kernel_cannot_read_is_refused_in_one_sentence(out, said):
    load(number_items, CPU)
    with pytest.raises(ValueError, match=said):
        launch(number_items, 3, [0, out], CPU)


def test_a_tree_finds_the_nearest_point():
    load(distance, CPU)
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points, out = torch.tensor([[0.2, 0.2, 0.5], [-3.0, -4.0, 0.0]]), torch.zeros(2)
    with triangle_tree(vertices, torch.tensor([[0, 1, 2]], dtype=torch.int32)) as tree:
        launch(distance, 2, [tree, points, out], CPU)
    torch.testing.assert_close(out, torch.tensor([0.5, 5.0]))


def test_large_items_are_divided_on_a_gpu_only():
    gpu = torch.device("cuda:0")
    assert splits(1, CPU) == 1
    assert [splits(n, gpu) for n in (0, 1, 1 << 15, 1 << 19, 1 << 21)] == [64, 64, 32, 2, 1]


def test_kernels_for_a_device_that_warp_does_not_know_run_on_the_cpu():
    assert home_of(torch.device("mps")) == CPU and home_of(torch.device("cuda:1")) == torch.device("cuda:1")


def test_nobody_else_wraps_launches_or_loads():
    alone = re.compile(r"wp\.(launch|from_torch|to_torch|load_module|init|Mesh|stream_\w+)\(|ThreadPoolExecutor\(")
    inside = {BACKEND / "support" / "warp_launch.py", BACKEND / "support" / "warp_setup.py"}
    around = {f for f in BACKEND.rglob("*.py") if alone.search(f.read_text("utf-8"))} - inside
    assert not around
