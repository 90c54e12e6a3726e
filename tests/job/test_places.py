"""Names of models: a path, or something of the catalogue."""

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.models import places


def test_a_folder_that_only_has_the_name_of_a_model_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    for name in ("sd15", "taesd", "renders"):
        (tmp_path / name / "result").mkdir(parents=True)
    assert places.existing("sd15") is None is places.existing("taesd")
    assert places.existing("./sd15") == tmp_path / "sd15" and places.existing("renders") == tmp_path / "renders"
    with pytest.raises(JobError) as caught:
        places.find_folder("sd15")
    assert caught.value.code == "model_missing"
    (tmp_path / "sd15" / "model_index.json").write_text("{}")
    assert places.existing("sd15") == tmp_path / "sd15"
