"""What Set Up and downloads say is held to its types: whatever comes, the window stays, and the panel can be drawn."""

import io
import json
import time

import pytest

from tests.support.blender import module
from tests.support.fake_layout import panel_text

session = module("addon.session").session
lines, setup, downloads = (module(f"addon.process.{name}") for name in ("lines", "setup", "downloads"))
ENTRY = module("job.models.catalogue").find_entry("sd15")

DEEP = b"[" * 200_000
TABLES = b'{"type": "progress", "text": ' + DEEP + b"}"
ODD_LINES = [DEEP, TABLES, b"\xff\xfe{", b"1" * 5000, b"[1]", b"null", b"\xef\xbb\xbf{}", b"x" * (5 << 20), b""]
VALUES = ["null", "true", "5", "-1", "1" * 400, "1e999", "-Infinity", "NaN", '"x"', '"\\ud800"', "[1]", "{}"]
VALUES += [json.dumps("y" * 100_000), json.dumps(["y"] * 1000), "1" * 5000]
FIELDS = [("progress", name) for name in ("text", "fraction", "done", "total", "rate", "seconds_left")]
FIELDS += [("error", name) for name in ("code", "text", "fix", "detail")] + [("done", "note"), ("cancelled", "note")]


@pytest.fixture(autouse=True)
def nothing_after():
    yield
    session.setup = session.download = session.problem = None
    session.notice = ""


class Spoken:
    """A process that has said these lines and ended."""

    def __init__(self, said):
        self.stdout, self.stdin = io.BytesIO(b"\n".join(said) + b"\n"), io.BytesIO()

    def wait(self):
        return 0


def heard(make, *said):
    """A child that said these lines, all of which were taken in."""
    child, ended = make(Spoken(said)), []
    child.finish = lambda: ended.append(True)
    for _ in range(2000):
        child.poll()
        if ended:
            return child
        time.sleep(0.001)
    raise AssertionError("it never ended")


def draws(child):
    """The panel's texts while it runs."""
    session.setup, session.download = (child, None) if isinstance(child, setup.Setup) else (None, child)
    said = panel_text()
    session.setup = session.download = None
    session.problem = child.problem
    return [*said, *panel_text()]


def sound(child):
    assert isinstance(child.text, str) and len(child.text) <= lines.LONGEST
    assert 0 <= child.fraction <= 1 and (child.seconds_left is None or 0 <= child.seconds_left <= 1e15)
    assert child.problem is None or len(child.problem.text) <= 2 * lines.LONGEST + 3
    assert all(len(text) < 2000 for text in draws(child))


MAKE = {"setup": lambda p: setup.Setup(p), "download": lambda p: downloads.Download(p, ENTRY)}


@pytest.mark.parametrize("which", MAKE)
def test_lines_that_are_none_are_passed_over_and_the_next_one_counts(which):
    said = b'{"type": "progress", "text": "Unpacking", "fraction": 0.5, "done": 5, "total": 10, "seconds_left": 3}'
    child = heard(MAKE[which], *ODD_LINES, said)
    assert (child.text, child.fraction, child.seconds_left) == ("Unpacking", 0.5, 3)
    sound(child)


@pytest.mark.parametrize("which", MAKE)
@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_whatever_a_field_holds_the_panel_can_be_drawn(which, kind, name):
    made = {value: f'{{"type": "{kind}", "total": 10, "{name}": {value}}}'.encode() for value in VALUES}
    for value, line in made.items():
        try:
            sound(heard(MAKE[which], line))
        except AssertionError:
            raise AssertionError(f"{kind} {name} = {value[:40]}") from None


def test_a_child_that_talks_without_end_leaves_the_window_its_time():
    line = b'{"type": "progress", "text": "again"}'
    child = heard(MAKE["setup"], *[line] * 20_000)
    assert child.text == "again"
    assert len(list(child.lines.take())) <= lines.AT_ONCE
