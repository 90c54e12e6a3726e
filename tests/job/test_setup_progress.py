"""The bar of Set Up follows the time that is left."""

import pytest

from csd_blender.job.setup.progress import Bar, CheckSteps, doing, install_left


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


def test_a_check_moves_by_the_seconds_of_its_modules_whatever_the_computer():
    steps = CheckSteps("import one, two, three", (6.0, 10.0, 4.0))
    assert steps.total == 20
    assert steps.at("", 0.0) == (0.0, 20.0, "Trying one (1 of 3) for the first time")
    share, left, text = steps.at("trying one\ntrying two\n", 12.0)  # twice as slow: 6 took 12
    assert (share, left) == (pytest.approx(0.3), pytest.approx(2 * 14)) and text.startswith("Trying two (2 of 3)")


def test_a_check_moves_however_long_a_module_takes():
    steps = CheckSteps("import one, two", (1.0, 1.0))
    shares = [steps.at("trying one\n", float(second))[0] for second in range(8)]
    assert all(a < b < 0.5 for a, b in zip(shares, shares[1:]))
    assert steps.at("trying one\ntrying two\n", 30.0)[0] == pytest.approx(0.5)


def test_a_step_without_news_still_moves_the_bar():
    now, seen = [0.0], []
    bar = Bar(seen.append, clock=lambda: now[0])
    bar.tell("Looking for Python", 10.0)
    now[0] = 5.0
    bar.again()
    assert seen[-1].text == "Looking for Python" and seen[-1].fraction == pytest.approx(1 / 3)
    bar.tell_share("Trying", 0.5, 0.5, 3.0)
    assert seen[-1].fraction == pytest.approx(0.75) and seen[-1].seconds_left == 3.0


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
        ("Downloading torch (182.9MiB)\nDownloading pillow (6MiB)\n Downloaded pillow\n", "Downloading torch"),
        ("Downloading torch (1MiB)\n Downloaded torch\nDownloading regex (6MiB)\n", "Downloading regex"),
        ("Downloading a (1MiB)\n Downloaded a\nPrepared 5 packages in 3s\n", "Unpacking packages"),
        ("Collecting a==5.2.0 (from -r x)\n  Downloading a-5.2.0-py3-none-any.whl\n", "Downloading a"),
        ("Collecting a\nInstalling collected packages: a\n", "Unpacking packages"),
    ],
)
def test_it_is_told_what_pip_or_uv_does(output, words):
    assert doing(output) == words
