"""The comparisons of methods: what they ask for, what they print, and the step beside the published one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from csd_blender.job.folder import JobFolder
from csd_blender.job.spec.methods import METHODS
from tools.commands import bench
from tools.lab.__main__ import main
from tools.lab.compare import diversity, guidance, janus, pictures, published, table
from tools.lab.compare.coarse import CoarseTask, folder_name
from tools.lab.compare.options import TABLES
from tools.lab.judged.quality_objects import SHAPES_AND_SURFACES, object_job
from tools.lab.judged.quality_prompts import quality_prompts
from tools.lab.judged.quality_textures import belief, fresh_folder, quality_job
from tools.lab.mini.readers.judge import load_judge

NOWHERE = Path("nowhere")

# ---- what is asked for


def test_the_textures_are_five_materials_and_five_patterns_in_five_colors_on_ten_meshes():
    asked = [quality_prompts()[index] for index in table.TEXTURES]
    assert len({a.mesh for a in asked}) == 10
    materials = [a.material for a in asked if a.color is None]
    patterned = [a for a in asked if a.color is not None]
    assert len(set(materials)) == len(materials) == 5
    assert len({a.material for a in patterned}) == len({a.color for a in patterned}) == len(patterned) == 5


def test_the_objects_have_fronts_for_the_most_part():
    shapes = [SHAPES_AND_SURFACES[index][0] for index in table.OBJECTS]
    assert len(set(shapes)) == len(shapes) == 8
    assert sum(shape in janus.FRONT_SHAPES for shape in shapes) == 5


def test_every_task_has_a_name_and_a_folder_of_its_own():
    lists = [
        [task for part in table.PARTS for task in table.part_tasks(NOWHERE, part, METHODS)],
        diversity.object_tasks(NOWHERE),
        janus.janus_tasks(NOWHERE, janus.variants()),
    ]
    for tasks in lists:
        assert len({task.key for task in tasks}) == len({str(task.folder) for task in tasks}) == len(tasks)
    assert len(lists[0]) == len(METHODS) * 28


def test_a_row_depends_on_the_settings_of_its_job():
    first, second = table.part_tasks(NOWHERE, "textures", METHODS[:2])[:2]
    assert first.fingerprint == replace(first, folder=Path("elsewhere")).fingerprint
    changed = [second, replace(first, part="normal"), replace(first, index=1), replace(first, settings={"seed": 1})]
    assert len({first.fingerprint, *(task.fingerprint for task in changed)}) == 5


def test_a_texture_job_of_the_quality_table_is_as_it_was():
    asked = quality_prompts()[0]
    job = quality_job(asked, "csd", "draft")
    assert (job.prompt, job.seed, job.texture_size, job.method, job.steps) == (asked.prompt, 0, 512, "csd", 20)


def test_a_finished_folder_is_kept_and_any_other_is_removed(tmp_path):
    job, other = (quality_job(quality_prompts()[0], "csd", quality) for quality in ("draft", "normal"))
    assert fresh_folder(tmp_path / "job", job)
    folder = JobFolder.create(tmp_path / "job", job)
    (folder.path / "result").mkdir(exist_ok=True)
    (folder.path / "result" / "result.json").write_text("{}")
    assert not fresh_folder(folder.path, job) and folder.path.is_dir()
    assert fresh_folder(folder.path, other) and not folder.path.exists()
    JobFolder.create(tmp_path / "job", job)  # begun, and never finished
    assert fresh_folder(folder.path, job) and not folder.path.exists()


def test_rows_without_a_remedy_have_none_and_each_remedy_changes_one_thing():
    by_label = {variant.label: variant for variant in janus.variants()}
    jobs = {
        label: object_job(CoarseTask(label, "cat", "plain", "red", 0, NOWHERE, variant.settings).job_task)
        for label, variant in by_label.items()
    }
    for base in janus.BASES:
        plain = jobs[base]
        assert plain.method == base and not plain.view_prompts and plain.refine.steps == 0
        assert plain.coarse.guidance.perp_neg == 0 and plain.coarse.cameras.front_back_steps == 0
        assert replace(jobs[f"{base}, view words"], view_prompts=False) == plain
        first = jobs[f"{base} + front/back first"]
        assert first.coarse.cameras.front_back_steps > 0
        cameras = replace(first.coarse.cameras, front_back_steps=0)
        assert replace(first, coarse=replace(first.coarse, cameras=cameras)) == plain
        away = jobs[f"{base} + Perp-Neg"]
        assert replace(away, coarse=replace(away.coarse, guidance=plain.coarse.guidance)) == plain
    assert jobs["csd + Perp-Neg"].coarse.guidance.perp_neg == 3.0
    assert jobs["sds + Perp-Neg"].coarse.guidance.perp_neg == jobs["sds"].coarse.guidance.guidance_scale
    assert all(not variant.against or variant.against in by_label for variant in by_label.values())


def test_the_best_newcomer_is_the_one_named_right_most_often_and_then_believed_most():
    def rows(method, right, belief):
        return [{"method": method, "right": r, "belief": belief} for r in right]

    there = [*rows("csd", [True, True], 1.0), *rows("asd", [True, False], 0.9), *rows("bridge", [True, False], 0.3)]
    assert table.best_newcomer(there) == "asd"
    assert table.best_newcomer([*there, *rows("csm", [True, True], 0.1)]) == "csm"
    assert table.best_newcomer(rows("csd", [True], 1.0)) is None


# ---- the judge


def test_belief_is_the_probability_of_all_that_was_asked():
    judge, seen = load_judge(), torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    means = {name: value.mean(0).exp() for name, value in judge.classify(seen).items()}
    wanted = float(means["material"][judge.MATERIALS.index("rust")])
    assert belief(judge, seen, {"material": "rust", "color": None}) == pytest.approx(wanted, rel=1e-4)
    both = wanted * float(means["shape"][judge.SHAPES.index("cat")])
    assert belief(judge, seen, {"material": "rust", "shape": "cat"}) == pytest.approx(both, rel=1e-4)


def test_the_judges_features_are_what_its_answers_come_from():
    judge, seen = load_judge(), torch.rand(2, 3, 64, 64)
    features = judge.features(seen)
    assert features.shape == (2, 256)
    scores = judge.net.heads["shape"](features).log_softmax(-1)
    assert torch.allclose(scores, judge.classify(seen)["shape"], atol=1e-5)
    with pytest.raises(ValueError, match="64, 64"):
        judge.features(seen[:, :, :32])


# ---- what is printed


def test_the_table_of_methods_prints_from_what_is_there():
    row = {
        "method": "csd", "prompt": "a rust robot", "right": True, "belief": 0.8, "material_right": True,
        "color_right": None, "light_slope": 0.02, "saturation": 0.4, "seconds": 30.0, "network_calls": None,
    }  # fmt: skip
    rows = [
        row,
        {**row, "right": False, "seconds": 50.0, "network_calls": 1080, "two_faced": True, "color_right": False},
    ]
    lines = table.format_table(rows).splitlines()
    cells = lines[1].split()
    assert cells == ["csd", "50%", "(9–91%)", "2", "0.80", "100%", "0%", "–", "0.020", "0.40", "100%", "40.0", "1,080"]
    assert not any(line.startswith("sds") for line in lines)
    assert [(p.name, p.seconds, p.quality) for p in table.points(rows)] == [("csd", 40.0, 0.5)]


def test_the_table_of_two_faces_compares_object_by_object():
    def row(label, shape, two_faced):
        return {"label": label, "shape": shape, "seed": 0, "two_faced": two_faced, "shape_right": True,
                "material_right": True, "color_right": False, "belief": 0.25, "seconds": 9.0}  # fmt: skip

    shapes = ("cat", "owl", "car", "bear")
    rows = [row("csd", shape, True) for shape in shapes]
    rows += [row("csd + Perp-Neg", shape, False) for shape in shapes[:3]]
    lines = {line[:36].strip(): line[36:].split() for line in janus.format_table(janus.variants(), rows).splitlines()}
    assert lines["csd"] == ["4", "of", "4", "51%–100%", "–", "100%", "0%", "0.25", "9.0"]
    assert lines["csd + Perp-Neg"][:7] == ["0", "of", "3", "0%–56%", "-100", "(-100", "to"]
    assert "sds" not in lines and "both" not in lines
    drawn = {p.name: (p.seconds, p.quality) for p in janus.two_faced_points(janus.variants(), rows)}
    assert drawn == {"csd": (9.0, 1.0), "csd + Perp-Neg": (9.0, 0.0)}
    rows += [row("sds", shape, shape == "cat") for shape in shapes] + [row("sds + Perp-Neg", "cat", True)]
    lines = {line[:36].strip(): line[36:].split() for line in janus.format_table(janus.variants(), rows).splitlines()}
    assert lines["both"][:4] == ["5", "of", "8", "31%–86%"]
    # Three of CSD's objects lose it and SDS's keeps it: 3 of 4, each beside its own.
    assert lines["both + Perp-Neg"][:5] == ["1", "of", "4", "5%–70%", "-75"] and "both + clamp" not in lines
    drawn = {p.name: p.quality for p in janus.two_faced_points(janus.variants(), rows)}
    assert drawn == {"both": 0.625, "both + Perp-Neg": 0.25}


def test_the_table_of_diversity_has_distances_and_quality():
    def row(label, prompt, features):
        return {"label": label, "prompt": prompt, "features": features, "material_right": True, "shape_right": True,
                "belief": 0.5, "seconds": 3.0, "network_calls": 200}  # fmt: skip

    rows = [row("csd", "a", [1.0, 0.0]), row("csd", "a", [1.0, 0.0]), row("csd", "b", [1.0, 0.0])]
    rows += [row("sds", "a", [1.0, 0.0]), row("sds", "a", [0.0, 1.0])]
    lines = diversity.format_table(rows).splitlines()
    assert lines[1].split()[:3] == ["csd", "3", "0.0000"]  # the second prompt, with one result, has no distance
    assert lines[2].split()[:3] == ["sds", "2", "1.0000"]
    assert len(diversity.grouped(rows[:3])) == 1
    assert diversity.grouped([rows[2]]) == []


def test_pictures_are_there_when_their_kind_is():
    if pictures.picture_kind() is None:
        pytest.skip("no kind of job makes pictures")
    tasks = diversity.picture_tasks(NOWHERE)
    assert len({task.key for task in tasks}) == len({task.fingerprint for task in tasks}) == len(tasks)
    assert {task.job.count for task in tasks} == {1}


def test_a_picture_is_read_as_the_judge_sees_it(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((128, 128, 3), (255, 0, 51), np.uint8)).save(tmp_path / "p.png")
    read = pictures.load_picture(tmp_path / "p.png")
    assert read.shape == (3, 64, 64) and torch.allclose(read[:, 5, 5], torch.tensor([1.0, 0.0, 0.2]))


# ---- one step beside the published one

TINY = replace(guidance.REHEARSAL, samples=3)


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in guidance.cases(TINY)}


@pytest.mark.parametrize("method", sorted(published.PUBLISHED))
def test_both_steps_leave_the_same_gradient_all_along(cases, method):
    """Early and late: SDS-Bridge changes its branches, NFSD its weights, ASD's other time is a random one."""
    case, model = cases[f"{method}, texture"], guidance.Bench(TINY).small
    guide, pictures_seen = guidance.start_guide(case, model), guidance.sample_pictures(model)
    for step in (10, 400, 1490):
        ours = guidance.our_step(guide, pictures_seen, step)
        theirs = published.published_step(guide, case.negative, pictures_seen, step, guidance.StepClock())
        assert guidance.compare(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", ["csd, coarse stage", "vsd, texture"])
def test_a_case_is_measured_on_both_sides_or_alone(cases, name):
    bench_of = guidance.Bench(TINY)
    row = bench_of.measure(cases[name])
    if name.startswith("vsd"):  # its published step is not written down
        assert "published" not in row and row["calls"] == 4  # two prompts, its own network, and that one's training
        return
    assert row["difference"] < 1e-4
    assert row["ratio"] > 0 and all(value > 0 for value in row["ours"].values())
    assert row["calls"] <= row["published_calls"]
    assert row["ratio"] == pytest.approx(sum(row["published"].values()) / sum(row["ours"].values()))
    printed = guidance.format_table([{"key": name, **row}])
    assert f"{name}, published" in printed and f"{row['ratio']:.2f}" in printed


def test_calls_are_those_of_the_branches_that_weigh_something(cases):
    model = guidance.Bench(TINY).small
    assert set(guidance.count_calls(cases["csd, no negative prompt"], model).values()) == {2}
    coarse = guidance.count_calls(cases["csd, coarse stage"], model)
    # the negative prompt's weight rises to the prompt's until step 5000; then the empty prompt weighs nothing
    assert list(coarse.values()) == [3, 2, 2]
    assert list(coarse) == [1666, 5000, 8333]


def test_gradients_that_differ_are_told():
    one = torch.tensor([1.0, -2.0])
    assert guidance.compare(one, one) == 0.0
    for ours, theirs in ((one, one * 1.01), (one, one * 0), (one * torch.nan, one)):
        with pytest.raises(ArithmeticError, match="gradients differ"):
            guidance.compare(ours, theirs)


def test_steps_between_two_timed_ones_cost_in_proportion_to_their_calls():
    counted = {0: 2, 10: 4, 20: 8, 30: 6, 40: 8}
    timed = guidance.representatives(counted)
    assert [counted[step] for step in timed] == [2, 6, 8]
    spent = [guidance.Spent(network=float(counted[step]), encode=1.0, rest=0.5) for step in timed]
    assert guidance.average(counted, timed, spent) == pytest.approx({"network": 5.6, "encode": 1.0, "rest": 0.5})
    assert guidance.representatives({0: 3, 1: 2, 2: 3}) == [1, 0]


# ---- the command


def test_blenders_part_comes_with_none_of_these():
    assert {f"--{name}" for name in TABLES} <= bench.ALONE


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--methods", "--only", "csd,magic"], "there is no method 'magic'"),
        (["--janus", "--methods"], "not allowed with"),
        (["--guidance", "--pixels", "100"], "multiple of 64"),
        (["--guidance", "--repeats", "0"], "at least 1"),
        (["--quality", "--show"], "belong to"),
    ],
)
def test_what_does_not_fit_together_is_told_in_a_line(argv, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in said


@pytest.mark.parametrize("name", TABLES)
def test_with_nothing_there_each_table_says_so_and_makes_nothing(name, tmp_path, capsys):
    assert main([f"--{name}", "--show", "--out", str(tmp_path / "new")]) == 0
    assert list((tmp_path / "new").iterdir()) == []
    assert capsys.readouterr().out


def test_names_of_folders_hold_letters_and_digits_alone():
    assert folder_name(("csd, view words", "cat", 1)) == "csd--view-words_cat_1"
