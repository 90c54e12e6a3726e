"""A model's folder can bring programs and point to others: nothing of that is ever run or followed."""

from __future__ import annotations

import shutil

import pytest

from tests.support.damage import edit_json, loads, refusal


def test_a_folder_with_programs_is_refused_at_once_and_nothing_of_it_runs(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()\nclass Mine:\n    pass\n"
    for place in ("tokenizer/mine.py", "pipeline.py", "unet/deep/er/X.PY", "vae/mine.pyc"):
        folder = shutil.copytree(copy, tmp_path / place.replace("/", "_"))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(code)
        assert place in refusal(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}}),
        ("tokenizer/tokenizer_config.json", {"auto_map": ["someone/else--mine.Mine", None]}),
        ("tokenizer/tokenizer_config.json", {"init_kwargs": {"auto_map": {}}}),
        ("tokenizer/config.json", {"auto_map": {"AutoConfig": "mine.Mine"}}),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "mine.Mine"}}),
        ("unet/config.json", {"auto_map": {"AutoModel": "mine.Mine"}}),
        ("model_index.json", {"unet": ["mine", "UNet2DConditionModel"]}),
        ("model_index.json", {"tokenizer": ["mine", "CLIPTokenizer"]}),
    ],
)
def test_settings_that_ask_for_programs_are_refused(copy, monkeypatch, name, changes):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    if not (copy / name).exists():
        (copy / name).write_text("{}")
    edit_json(copy / name, **changes)
    assert str(copy / name) in (message := refusal(copy)) and "program" in message


def test_settings_cannot_send_the_library_to_other_files(copy, tmp_path):
    """An adapter's settings or a file name in a text encoder's settings would make it open what they name."""
    edit_json(copy / "text_encoder" / "config.json", transformers_weights="../../elsewhere.bin")
    edit_json(copy / "text_encoder" / "config.json", _attn_implementation="someone/kernel", dtype="int3")
    loads(copy)
    (copy / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    assert "LoRA" in refusal(copy)
