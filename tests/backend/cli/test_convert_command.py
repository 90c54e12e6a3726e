"""A checkpoint that is a pickle becomes a file that jobs take; one that holds a program is not run."""

from __future__ import annotations

import json
import os
import pickle
import warnings

import pytest
import torch
from safetensors.torch import load_file

from csd_blender.backend.cli.main import main
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.job.errors import JobError
from csd_blender.job.models.files import read_model
from tests.support.ldm import write_folder, write_single_file
from tests.support.tiny_models import write_sd15

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return write_single_file(write_folder(folder / "mvdream", "mvdream"), "mvdream", folder / "mvdream.safetensors")


def convert(*words):
    return main(["models", "convert", *map(str, words)])


@pytest.mark.parametrize("first_layout", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_an_mvdream_as_it_was_published_becomes_a_file_that_loads(tmp_path, model, capsys, inside, first_layout):
    values = load_file(model)
    whole = {"state_dict": values, "global_step": 7, "callbacks": {}} if inside else values
    torch.save(whole, tmp_path / "view.pt", _use_new_zipfile_serialization=not first_layout)
    assert convert(tmp_path / "view.pt") == 0
    made = tmp_path / "view.safetensors"
    assert capsys.readouterr().out.splitlines() == [str(made)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["view.pt", "view.safetensors"]
    found = load_file(made)
    assert found.keys() == values.keys() and all(torch.equal(found[key], values[key]) for key in values)
    assert load_model(str(made), CPU, told="views").views == 4


def test_tensors_that_share_their_numbers_are_written_each_by_itself(tmp_path, capsys):
    table = torch.arange(6.0).view(2, 3)
    torch.save({"a": table, "b": table, "turned": table.T, "step": 3}, tmp_path / "x.ckpt")
    assert convert(tmp_path / "x.ckpt", "--out", tmp_path / "y.safetensors") == 0
    found = load_file(tmp_path / "y.safetensors")
    assert set(found) == {"a", "b", "turned"} and torch.equal(found["turned"], table.T)
    assert "not the weights of a whole model" in capsys.readouterr().out


class Program:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_a_program_in_a_pickle_is_not_run(tmp_path, capsys):
    file, trap = tmp_path / "evil.pt", tmp_path / "it-was-run"
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Program(str(trap))}, file)
    assert convert(file) == 1
    assert not trap.exists() and "more than tensors" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["evil.pt"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pt", b"", "is damaged"),
        ("a.pt", b"PK\x03\x04 and no more", "is damaged"),
        ("a.pt", pickle.dumps({"words": "only"}), "is damaged"),
        ("a.txt", b"text", "is none of .bin, .ckpt"),
        ("", b"", "is no file"),
    ],
)
def test_other_files_are_refused_with_one_sentence(tmp_path, capsys, name, content, said):
    file = tmp_path / (name or "none.pt")
    if name:
        file.write_bytes(content)
    assert convert(file) == 1
    shown = capsys.readouterr().err
    assert said in shown and "Traceback" not in shown
    assert not list(tmp_path.glob("*.safetensors*"))


def test_values_without_names_are_refused(tmp_path, capsys):
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    assert convert(tmp_path / "list.pt") == 1 and "holds no named tensors" in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    assert convert(tmp_path / "x.pt") == 1 and "is there already" in capsys.readouterr().err
    assert (tmp_path / "x.safetensors").read_bytes() == b"mine"
    assert convert(tmp_path / "x.pt", "--out", tmp_path / "x.bin") == 1
    assert convert(tmp_path / "x.pt", "--out", tmp_path / "absent" / "x.safetensors") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_beside_it_that_is_called_like_an_unfinished_one_stays(tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    (tmp_path / "x.safetensors.part").write_bytes(b"mine")
    assert convert(tmp_path / "x.pt") == 1 and "x.safetensors.part is there already" in capsys.readouterr().err
    assert (tmp_path / "x.safetensors.part").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_name_that_is_no_files_is_refused_with_a_sentence(name, capsys):
    assert convert(name) == 1 and "is no file" in capsys.readouterr().err


def _quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a", lambda: torch.arange(3), "holds int64 in a"),
        ("a", lambda: torch.ones(2, dtype=torch.complex64), "holds complex64 in a"),
        ("a", lambda: torch.tensor([True]), "holds bool in a"),
        ("a", _quantized, "holds qint8 in a"),
        ("a", lambda: torch.eye(3).to_sparse(), "holds sparse_coo in a"),
        ("a", lambda: torch.empty(3, device="meta"), "holds no numbers in a"),
        ("__metadata__", lambda: torch.ones(1), "by the name of '__metadata__'"),
        ("\ud800", lambda: torch.ones(1), "by the name of '\\ud800'"),
    ],
)
def test_tensors_that_no_job_could_read_are_refused_by_name_and_leave_no_file(
    tmp_path, capsys, recwarn, name, make, said
):
    torch.save({"good": torch.ones(2), name: make()}, tmp_path / "x.pt")
    recwarn.clear()
    assert convert(tmp_path / "x.pt") == 1
    shown = capsys.readouterr().err
    assert said in shown and "cannot be written" not in shown and not recwarn.list
    assert os.listdir(tmp_path) == ["x.pt"]


def test_counts_of_old_checkpoints_come_along(tmp_path):
    torch.save({"a": torch.ones(2), "model_ema.num_updates": torch.tensor(5)}, tmp_path / "x.pt")
    assert convert(tmp_path / "x.pt") == 0 and len(load_file(tmp_path / "x.safetensors")) == 2


def test_nobody_is_told_how_to_open_an_unsafe_file_all_the_same(tmp_path, capsys):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    assert convert(tmp_path / "x.pt") == 1
    shown = capsys.readouterr().err
    assert "such as torch.nn.modules.linear.Linear" in shown and "option" not in shown and "\x1b" not in shown


def test_a_disk_that_takes_no_more_is_named_and_so_is_a_lack_of_memory(tmp_path, capsys, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    for error, said in (
        (OSError(27, "File too large"), "disk"),
        (Exception("I/O error: File too large (os error 27)"), "disk"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory"),
    ):
        monkeypatch.setattr("safetensors.torch.save_file", lambda *a, error=error, **k: fail(error))
        assert convert(tmp_path / "x.pt") == 1
        shown = capsys.readouterr().err
        assert said in shown.splitlines()[0].lower() and "resume the job" not in shown.lower()
    monkeypatch.setattr("torch.load", lambda *a, **k: fail(PermissionError(13, "Permission denied")))
    assert convert(tmp_path / "x.pt") == 1 and "cannot be read (Permission denied)" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["x.pt"]


def fail(error):
    raise error


def test_a_part_of_a_models_folder_gets_the_name_that_jobs_look_for(tmp_path, capsys):
    folder = write_sd15(tmp_path / "model")
    for part, stem, named in (
        ("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("text_encoder", "model", "pytorch_model"),
    ):
        weights = folder / part / f"{stem}.safetensors"
        torch.save(load_file(weights), folder / part / f"{named}.bin")
        weights.unlink()
        with pytest.raises(JobError, match="csd models convert"):
            read_model(folder)
        assert convert(folder / part / f"{named}.bin") == 0 and weights.is_file()
        assert capsys.readouterr().out.splitlines() == [str(weights)]
    assert load_model(str(folder), CPU).native_size == 512


def test_weights_in_pieces_get_their_list(tmp_path, capsys):
    folder = write_sd15(tmp_path / "model")
    part = folder / "text_encoder"
    values = load_file(part / "model.safetensors")
    (part / "model.safetensors").unlink()
    names = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    halves = [dict(list(values.items())[n::2]) for n in (0, 1)]
    for name, half in zip(names, halves, strict=True):
        torch.save(half, part / name)
    pieces = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    (part / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": pieces}))
    for name in names:
        assert convert(part / name) == 0
    assert "no job takes them" not in capsys.readouterr().out
    read_model(folder)
    assert load_model(str(folder), CPU).native_size == 512


def test_a_name_that_jobs_do_not_look_for_is_told(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.zeros(2)}, tmp_path / "consolidated.pt")
    assert convert(tmp_path / "consolidated.pt") == 0
    assert "no job takes them" in capsys.readouterr().out
