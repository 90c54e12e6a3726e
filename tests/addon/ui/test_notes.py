"""What a job warns of is in the panel, the first of it as well as the last."""

import pytest

from tests.support.by_hand import HandJob
from tests.support.fake_layout import panel_text


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("count", "seen"), [(4, "1234"), (8, "12345678"), (12, "123456BC")])
def test_every_note_is_shown_and_of_very_many_the_first_and_the_last(monkeypatch, finished, count, seen):
    made = HandJob(monkeypatch)
    if finished:
        made.finish()
    names = "123456789ABC"[:count]
    made.job.warnings = [f"Note {name}." for name in names]
    shown = [text for text in panel_text() if text.startswith("Note ")]
    assert "".join(text[5] for text in shown) == seen
    assert ("4 notes more." in panel_text()) == (count == 12)
