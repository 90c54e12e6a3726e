"""Schedules, specifications, messages and folders: what Blender and the backend agree on."""

from __future__ import annotations

import errno
import json
import os
import random
from dataclasses import fields

import pytest

from csd_blender.job import folder as folder_module
from csd_blender.job.errors import ERRORS, JobError
from csd_blender.job.folder import JobFolder, write_atomic
from csd_blender.job.models.catalogue import CATALOGUE
from csd_blender.job.presets.texture import EXPECTED_SECONDS, QUALITIES, texture_job
from csd_blender.job.process.messages import LIMIT, Message, decode, encode
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import Schedule, constant
from csd_blender.job.spec.texture import TextureJob


def refused(**settings) -> JobError:
    with pytest.raises(JobError) as caught:
        texture_job("a mug", **settings)
    assert caught.value.code == "bad_setting"
    return caught.value


# Schedules


def test_a_ramp_is_linear_between_its_steps_and_constant_outside():
    ramp = Schedule.from_json([0, -1, -0.5, 10000])
    assert [ramp.at(s) for s in (-5, 0, 5000, 10000, 99999)] == [-1, -1, -0.75, -0.5, -0.5]
    rising = Schedule.from_json([0, 0, -1, 5000])
    assert [rising.at(s) for s in (2500, 5000, 6000)] == [-0.5, -1, -1]
    late = Schedule(100, 1.0, 3.0, 200)
    assert [late.at(s) for s in (0, 100, 150, 200)] == [1.0, 1.0, 2.0, 3.0]


def test_a_ramp_over_one_step_is_a_hard_switch():
    switch = Schedule(5000, 0.98, 0.5, 5001)
    assert [switch.at(s) for s in (0, 4999, 5000, 5001, 9999)] == [0.98, 0.98, 0.98, 0.5, 0.5]


def test_schedules_of_the_paper_keep_the_sum_of_the_weights_at_zero():
    """Positive + negative + empty = 0 at every step, as classifier scores are differences."""
    negative, empty = Schedule.from_json([0, -1, -0.5, 10000]), Schedule.from_json([0, 0, -0.5, 10000])
    assert all(1 + negative.at(s) + empty.at(s) == pytest.approx(0) for s in range(0, 12000, 7))


@pytest.mark.parametrize("value", [0, 2, 0.5, [0, 1.0, 0.5, 300], [5.0, 1.0, 0.0, 6.0]])
def test_a_schedule_survives_json(value):
    made = Schedule.from_json(value)
    assert Schedule.from_json(json.loads(json.dumps(made.to_json()))).at(3) == made.at(3)
    assert Schedule.from_json(made) is made


@pytest.mark.parametrize("value", ["1", True, None, [], [1, 2], [0, 1, 2, "3"], [10, 1, 2, 5], [0, float("nan"), 1, 2]])
def test_what_is_no_schedule_is_refused(value):
    with pytest.raises(ValueError):
        Schedule.from_json(value)


# Specifications


def random_job(rng: random.Random) -> TextureJob:
    low = rng.uniform(-90, 80)
    return texture_job(
        rng.choice(["a mug", "ein Becher aus grünem Glas", "杯子"]),
        quality=rng.choice(QUALITIES),
        method=rng.choice(["csd", "sds"]),
        steps=rng.randint(1, 20000),
        seed=rng.randint(0, 2**31 - 1),
        device=rng.choice(["auto", "cpu", "cuda", "cuda:3", "mps"]),
        learning_rate=10 ** rng.uniform(-6, 0),
        guidance=Guidance(
            negative_weight=Schedule(0, 1, rng.random(), rng.randint(1, 9)), guidance_scale=rng.randint(1, 9)
        ),
        cameras={"elevation": [low, rng.uniform(low, 90)]},
    )


def test_any_job_survives_json_with_the_same_fingerprint():
    rng = random.Random(0)
    for _ in range(200):
        job = random_job(rng)
        again = TextureJob.from_json(json.loads(json.dumps(job.to_json())))
        assert again == job and again.spec_hash() == job.spec_hash()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("steps", 0, "1 to 20000"),
        ("steps", 20001, "1 to 20000"),
        ("steps", 1.5, "a whole number"),
        ("steps", True, "a whole number"),
        ("steps", "many", "a whole number"),
        ("views", 17, "1 to 16"),
        ("texture_size", 63, "64 to 4096"),
        ("texture_size", 4097, "64 to 4096"),
        ("seed", -1, "allowed is 0 to 2147483647"),
        ("learning_rate", float("nan"), "allowed is 1e-06 to 1"),
        ("learning_rate", float("inf"), "to 1"),
        ("method", "magic", "csd, sds"),
        ("device", "gpu", "cuda:N"),
        ("device", "cuda:", "cuda:N"),
        ("uv", "mine", "auto, keep, new"),
        ("model", "", "mini"),
        ("view_prompts", 1, "true or false"),
        ("negative_prompt", None, "a text"),
        ("negative_prompt", "x" * 2001, "2000"),
        ("cameras", {"elevation": [60, -20]}, "lower one first"),
        ("cameras", {"fov_y": [1, 50]}, "5 to 120"),
        ("guidance", {"t_max": 1.5}, "0 to 1"),
        ("guidance", {"t_max": [0, 1]}, "allowed is a number or [start step"),
        ("guidance", {"t_max": [9, 1, 1, 0]}, "allowed is a schedule that does not end before it starts"),
        ("guidance", {"t_max": [0, float("nan"), 1, 2]}, "allowed is finite numbers only"),
        ("guidance", {"positive_weight": None}, ""),
        ("guidance", {"weighting": "best"}, "uniform"),
    ],
)
def test_a_refused_setting_is_named_with_its_value_and_what_is_allowed(name, value, allowed):
    error = refused(**{name: value})
    assert name in error.detail and allowed in error.detail
    inner = next(iter(value)) if isinstance(value, dict) else None
    assert inner is None or inner in error.detail


@pytest.mark.parametrize("name", ["stepps", "guidance.t_maxx"])
def test_an_unknown_setting_is_named(name):
    outer, _, inner = name.partition(".")
    assert name.rpartition(".")[2] in refused(**{outer: {inner: 1} if inner else 1}).detail


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(JobError, match="prompt"):
        texture_job(prompt)


@pytest.mark.parametrize("data", [None, [], {}, {"kind": "sculpture", "prompt": "x"}])
def test_what_is_no_texture_job_is_refused(data):
    with pytest.raises(JobError, match="texture job"):
        TextureJob.from_json(data)


def test_the_fingerprint_follows_what_changes_the_result_and_nothing_else():
    base = texture_job("a mug")
    assert TextureJob.from_json(base.to_json()).spec_hash() == base.spec_hash()
    for name, value in {"seed": 1, "prompt": "b", "steps": 7, "views": 1, "model": "other", "uv": "new"}.items():
        assert TextureJob.from_json({**base.to_json(), name: value}).spec_hash() != base.spec_hash(), name
    for name, value in {"preview_interval": 9, "checkpoint_interval": 9, "device": "cpu"}.items():
        assert TextureJob.from_json({**base.to_json(), name: value}).spec_hash() == base.spec_hash(), name


def test_every_field_of_a_job_is_typed_and_frozen():
    job = texture_job("a mug")
    with pytest.raises(AttributeError):
        job.seed = 3
    assert all(f.type for f in (*fields(TextureJob), *fields(Guidance)))


def test_better_presets_take_longer_and_are_all_allowed():
    jobs = [texture_job("a mug", quality) for quality in QUALITIES]
    assert [j.quality for j in jobs] == list(QUALITIES)
    assert sorted(j.steps * j.views for j in jobs) == [j.steps * j.views for j in jobs]
    assert [EXPECTED_SECONDS[q] for q in QUALITIES] == sorted(EXPECTED_SECONDS.values())


def test_schedules_of_a_preset_stretch_over_the_jobs_own_steps():
    short, long = texture_job("a mug", steps=10).guidance, texture_job("a mug", steps=1000).guidance
    for name in ("negative_weight", "t_min", "t_max"):
        assert getattr(short, name).at(10) == pytest.approx(getattr(long, name).at(1000)), name
    assert texture_job("a mug", guidance={"t_max": 0.7}).guidance.t_max == constant(0.7)


# Messages


def test_a_message_survives_its_line():
    message = Message("progress", "job", 7, {"step": 3, "text": "grüße\nzwei", "metrics": {"t": 0.5}})
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and decode(line) == message


def test_lines_that_are_no_messages_are_passed_over():
    good = encode(Message("ping"))
    bad = [b"", b"\n", b"{", b"[]", b"3", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000]
    bad += [good[:-5], good.replace(b'"v":1', b'"v":2')]
    bad += [b'{"v":1}', b'{"v":1,"type":3}', b'{"v":1,"type":"x","job":3}', b'{"v":1,"type":"x","seq":"y"}']
    assert [decode(line) for line in bad] == [None] * len(bad)


def test_garbled_lines_never_raise():
    rng = random.Random(3)
    line = bytearray(encode(Message("preview", "job", 1, {"path": "preview/a.rgba", "width": 64})))
    for _ in range(3000):
        garbled = bytearray(line)
        for _ in range(rng.randint(1, 6)):
            garbled[rng.randrange(len(garbled))] = rng.randrange(256)
        decode(bytes(garbled[: rng.randint(0, len(garbled))]))


def test_a_message_has_at_most_one_mebibyte():
    with pytest.raises(ValueError):
        encode(Message("warning", "job", 1, {"text": "x" * LIMIT}))
    assert decode(b'{"v":1,"type":"warning","text":"' + b"x" * LIMIT + b'"}') is None


def test_numbers_that_json_does_not_know_are_not_sent():
    with pytest.raises(ValueError):
        encode(Message("progress", "job", 1, {"loss": float("nan")}))


# Folders


def test_a_folder_is_complete_in_itself_and_opens_elsewhere(tmp_path):
    made = JobFolder.create(tmp_path / "one", texture_job("a mug", seed=5))
    os.replace(made.path, tmp_path / "moved")
    opened = JobFolder.open(tmp_path / "moved")
    assert opened.spec == made.spec and opened.id == "moved"


def test_nothing_that_exists_is_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").touch()
    for path in (tmp_path / "full", tmp_path / "full" / "holiday.jpg"):
        with pytest.raises(JobError) as caught:
            JobFolder.create(path, texture_job("a mug"))
        assert caught.value.code == "folder_not_empty"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind":"texture"}', '{"kind":"texture","prompt":"x","stepz":1}'])
def test_a_broken_job_file_is_told_in_a_sentence(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(JobError) as caught:
        JobFolder.open(tmp_path)
    assert caught.value.code in ("bad_job_folder", "bad_setting")


def test_a_full_disk_is_told_and_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with pytest.raises(JobError) as caught:
        write_atomic(path, b"new and longer")
    assert caught.value.code == "no_space" and caught.value.retryable
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_reader_that_holds_the_old_file_on_windows_only_delays_the_new_one(tmp_path, monkeypatch):
    tries, real = [], os.replace

    def held(source, target):
        tries.append(target)
        if len(tries) < 4:
            raise PermissionError(errno.EACCES, "in use")
        real(source, target)

    monkeypatch.setattr(folder_module.os, "replace", held)
    monkeypatch.setattr(folder_module.os, "name", "nt")
    folder_module._replace(str(_file(tmp_path / "beside", b"new")), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new" and len(tries) == 4


def _file(path, data):
    path.write_bytes(data)
    return path


def test_events_survive_a_line_cut_off_by_a_crash(tmp_path):
    folder = JobFolder.create(tmp_path / "job", texture_job("a mug"))
    folder.append_event({"type": "accepted"})
    with open(folder.path / "events.jsonl", "ab") as file:
        file.write(b'{"type":"prog')
    assert [e["type"] for e in folder.events()] == ["accepted"]


def test_an_error_is_one_sentence_of_what_and_one_of_what_to_do():
    error = JobError("no_space", "/data", needed=3)
    assert error.message == "The disk is full: /data. Free some space, then resume the job."
    assert error.values == {"needed": 3}
    with pytest.raises(KeyError):
        JobError("no such code")
    assert {"worker_died", "worker_silent", "oom", "no_space", "protocol_mismatch", "setup_failed"} <= ERRORS.keys()


def test_the_first_model_is_free_needs_no_download_and_no_model_is_of_unknown_licence():
    first = CATALOGUE[0]
    assert first.id == TextureJob.__dataclass_fields__["model"].default == "mini"
    assert first.commercial == "yes" and first.download_mb == 0 and not first.sources
    assert len({m.id for m in CATALOGUE}) == len(CATALOGUE)
    for model in CATALOGUE:
        assert model.licence and model.commercial in ("yes", "rules", "limited", "no")
        assert model.sources or model.id == "mini"


@pytest.mark.parametrize("steps", [-5, 0, "many", 2.5])
def test_a_wrong_number_of_steps_is_named(steps):
    with pytest.raises(JobError, match="steps"):
        texture_job("a red mug", steps=steps)
