"""The bar of Set Up follows the time that is left."""

import pytest

from csd_blender.job.setup_progress import Bar, CheckSteps, doing, install_left


def test_the_bar_is_the_share_of_the_time_and_never_runs_backwards():
    now, seen = [0.0], []
    bar = Bar(seen.append, clock=lambda: now[0])
    for now[0], left in ((10, 30), (20, 60), (30, 30), (59, 1), (60, 0)):
        bar.tell("working", left, sure=True)
    assert [round(p.fraction, 2) for p in seen] == [0.25, 0.25, 0.5, 0.98, 0.99]
    bar.full("Ready")
    assert seen[-1].fraction == 1.0 and seen[-1].seconds_left == 0.0


def test_the_pace_of_an_installation_is_its_own_after_a_while():
    left, sure = install_left(0, 1000, 0)
    assert left == pytest.approx(1000 / 20) and not sure
    left, sure = install_left(500, 1000, 100)  # 5 MB a second
    assert left == pytest.approx(100, rel=0.1) and sure


def test_what_other_programs_write_does_not_finish_the_bar():
    assert install_left(5000, 1000, 10)[0] > 0


def test_half_of_a_check_is_half_of_its_seconds_whatever_the_computer():
    steps = CheckSteps("import one, two, three", (6.0, 10.0, 4.0))
    assert steps.total == 20
    assert steps.left("", 0.0) == (20.0, "Trying one for the first time (1 of 3)")
    assert steps.left("trying one\n", 3.0)[0] == pytest.approx(17)
    left, text = steps.left("trying one\ntrying two\n", 32.0)  # twice as slow: 16 of 20 took 32
    assert text.startswith("Trying two") and left == pytest.approx(2 * (1 + 4))


def test_a_check_names_each_module_before_it_tries_it():
    code = CheckSteps("import json, string", ()).code()
    said = []
    exec(code, {"print": lambda *words, **_: said.append(words), "__import__": __import__})
    assert said == [("trying", "json"), ("trying", "string")]
    assert CheckSteps("assert 1 == 1", ()).code() == "assert 1 == 1" and CheckSteps("", ()).total == 0


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "Installing packages"),
        ("Resolved 3\nDownloading torch (182.9MiB)\nDownloading pillow (6MiB)\n Downloaded pillow\n", "Downloading torch"),
        ("Downloading torch (1MiB)\n Downloaded torch\nDownloading regex (6MiB)\n", "Downloading regex"),
        ("Downloading a (1MiB)\n Downloaded a\nPrepared 5 packages in 3s\n", "Unpacking packages"),
        ("Collecting trimesh==5.2.0 (from -r x)\n  Downloading trimesh-5.2.0-py3-none-any.whl (736 kB)\n", "Downloading trimesh"),
        ("Collecting a\nInstalling collected packages: a\n", "Unpacking packages"),
    ],
)
def test_it_is_told_what_pip_or_uv_does(output, words):
    assert doing(output) == words
