"""The table of edits: what it asks for can be asked, and the judge names the starts as what they are."""

import pytest

from csd_blender.backend.mini.vocabulary import COLORS, MATERIALS, PATTERNS
from csd_blender.backend.render.pictures import turntable_pictures
from tools.lab.demo_meshes import DEMO_MESHES
from tools.lab.judged import edits
from tools.lab.judged.quality_textures import BACKGROUND, JUDGED_SIZE, VIEWS, _bare_surface
from tools.lab.mini.readers.judge import load_judge


def test_ten_edits_each_with_something_to_change():
    assert len(edits.EDITS) == 10 and edits.EDITS[0].source == "a red striped mug"
    assert edits.EDITS[0].target == "a blue striped mug" and edits.EDITS[0].stays == "material"
    for edit in edits.EDITS:
        assert edit.mesh in DEMO_MESHES and edit.source != edit.target
        for material, color in (edit.before, edit.after):
            assert material in MATERIALS and (color in COLORS if material in PATTERNS else color is None)
    assert {edit.stays for edit in edits.EDITS} == {"material", "color", ""}


@pytest.mark.parametrize("edit", [e for e in edits.EDITS if e.mesh in ("mug", "vase")], ids=lambda e: e.source)
def test_the_judge_sees_in_a_start_what_its_source_says_and_nothing_of_the_target(edit):
    surface = _bare_surface(edit.mesh)
    start = edits.start_texture(surface, *edit.before)
    verdict, *_ = edits.judge_edit(edit, 0.0, surface, start, [start], load_judge(), 0.0)
    assert not verdict.changed and verdict.stayed in (True, None) and verdict.distance == 0.0
    pictures = turntable_pictures(surface, [start], VIEWS, JUDGED_SIZE, background=BACKGROUND, lit=False)
    assert load_judge().verdict(pictures)["material"] == edit.before[0]
