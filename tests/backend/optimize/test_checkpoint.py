"""Checkpoints that were damaged or made by somebody else: all of one is loaded, or nothing of it."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from csd_blender.backend.optimize import checkpoint, loop
from csd_blender.backend.optimize.checkpoint import Saved, optimizer_tensors, restore, save_checkpoint
from csd_blender.backend.optimize.loop import StoreClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.ordinary import read_ordinary
from csd_blender.job.presets.texture import texture_job
from tests.support.hostile import CASES, garbled, value

STEPS = 50
HASH = "0123456789abcdef"


@dataclass
class TinyState:
    """Two parameters, a buffer that a step changes, and random numbers; the third parameter never had a gradient."""

    module: torch.nn.Module = field(default_factory=lambda: torch.nn.Linear(3, 2))
    step: int = 0

    def __post_init__(self) -> None:
        self.module.register_buffer("seen", torch.zeros(4, dtype=torch.bool))
        self.module.register_parameter("later", torch.nn.Parameter(torch.zeros(5)))
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1, fused=True)
        self.generator = torch.Generator().manual_seed(5)

    def take(self, steps: int) -> TinyState:
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            (self.module(torch.randn(4, 3, generator=self.generator)) ** 2).sum().backward()
            self.optimizer.step()
            self.step += 1
            self.module.seen[self.step % 4] = True
        return self

    def tensors(self):
        named = {f"field.{name}": value for name, value in self.module.state_dict().items()}
        return named | optimizer_tensors(self.optimizer) | {"generator": self.generator.get_state()}


def fresh(found) -> TinyState:
    state = TinyState()
    restore(state, found.tensors, found.step)
    return state


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    return JobFolder.create(tmp_path / "job", texture_job("a red mug"))


@pytest.fixture
def two(folder) -> list[TinyState]:
    """Checkpoints after 3 and after 7 steps, and the states that they hold."""
    torch.manual_seed(0)
    states = []
    for steps in (3, 4):
        state = fresh_from(states[-1]) if states else TinyState()
        states.append(state.take(steps))
        save_checkpoint(folder, state.step, state.tensors(), HASH)
    return states


def fresh_from(state: TinyState) -> TinyState:
    other = TinyState()
    restore(other, {k: v.clone() for k, v in state.tensors().items()}, state.step)
    return other


def resumed(folder) -> TinyState | None:
    return Saved(folder, HASH, STEPS).newest(fresh, 0, STEPS)


def files(folder) -> list[str]:
    return sorted(path.name for path in (folder.path / "checkpoint").iterdir())


def rewrite(folder, tensors: dict, step: int = 7) -> None:
    """Put other tensors into a checkpoint, with a sum that is right."""
    place = folder.path / "checkpoint" / f"step_{step:06d}.json"
    data = save({name: value.contiguous() for name, value in tensors.items()})
    place.with_suffix(".safetensors").write_bytes(data)
    record = json.loads(place.read_text()) | {"sha256": hashlib.sha256(data).hexdigest()}
    place.write_text(json.dumps(record))


def test_a_restored_state_is_the_stored_one_and_takes_the_same_next_steps(folder, two):
    state = resumed(folder)
    assert state.step == 7 and same(state.tensors(), two[1].tensors())
    assert same(state.take(3).tensors(), two[1].take(3).tensors())


def test_the_last_two_are_kept_and_nothing_else(folder, two):
    save_checkpoint(folder, 9, two[1].tensors(), HASH)
    assert files(folder) == [f"step_{n:06d}.{kind}" for n in (7, 9) for kind in ("json", "safetensors")]
    (folder.path / "checkpoint" / "step_000009.safetensors").write_bytes(b"")
    assert resumed(folder).step == 7  # what the second one is for


def test_later_ones_that_were_of_no_use_and_halves_of_killed_writes_go(folder, two):
    place = folder.path / "checkpoint"
    (place / "step_000030.json").write_text("{}")
    (place / "step_000005.safetensors").write_bytes(b"half")
    save_checkpoint(folder, 8, two[1].tensors(), HASH)
    assert files(folder) == [f"step_{n:06d}.{kind}" for n in (7, 8) for kind in ("json", "safetensors")]


def without(name):
    return lambda t: {k: v for k, v in t.items() if k != name}


def changed(name, change):
    return lambda t: {k: change(v) if k == name else v for k, v in t.items()}


MOMENT, COUNT = "optimizer.1.exp_avg", "optimizer.1.step"
WRONG = {
    "a moment of another shape": changed(MOMENT, lambda v: torch.zeros(1)),
    "a moment that is longer": changed(MOMENT, lambda v: torch.zeros(10**6)),
    "a moment of doubles": changed(MOMENT, lambda v: v.double()),
    "a moment without its parameter": lambda t: t | {"optimizer.9.exp_avg": torch.zeros(2)},
    "a moment of no name": lambda t: t | {"optimizer.x.exp_avg": torch.zeros(2)},
    "a moment with half a name": lambda t: t | {"optimizer.": torch.zeros(2)},
    "a moment with an old-fashioned number": lambda t: t | {"optimizer.01.exp_avg": torch.zeros(2)},
    "one moment of three missing": without(MOMENT),
    "no moments": lambda t: {k: v for k, v in t.items() if not k.startswith("optimizer.")},
    "a count below one": changed(COUNT, lambda v: v * 0),
    "a count of a billion": changed(COUNT, lambda v: v * 0 + 1e9),
    "half a count": changed(COUNT, lambda v: v * 0 + 2.5),
    "a count that is no number": changed(COUNT, lambda v: v * float("nan")),
    "a count for each": changed(COUNT, lambda v: v.expand(2).clone()),
    "a negative square": changed("optimizer.1.exp_avg_sq", lambda v: v - 1e3),
    "a moment that is no number": changed(MOMENT, lambda v: v * float("inf")),
    "an average of no gradients": changed(MOMENT, lambda v: torch.full_like(v, 3e38)),
    "averages of gradients whose squares are lost": lambda t: {k: v * 1e9 if k == MOMENT else v for k, v in t.items()},
    "a parameter beyond all measure": changed("field.weight", lambda v: torch.full_like(v, 3e38)),
    "a parameter of another shape": changed("field.weight", lambda v: v.T.contiguous()),
    "a parameter of another kind": changed("field.weight", lambda v: v.half()),
    "a parameter that is no number": changed("field.weight", lambda v: v * float("nan")),
    "a buffer of another kind": changed("field.seen", lambda v: v.float()),
    "a parameter missing": without("field.bias"),
    "a name too many": lambda t: t | {"field.extra": torch.zeros(3)},
    "no generator": without("generator"),
    "a generator of another length": changed("generator", lambda v: v[:100].clone()),
    "a generator of another kind": changed("generator", lambda v: v.float()),
    "a generator of nothing but ones": changed("generator", lambda v: torch.full_like(v, 255)),
    "no tensors": lambda t: {},
}


@pytest.mark.parametrize("how", WRONG)
def test_a_checkpoint_that_does_not_fit_is_passed_over_for_the_one_before_it(folder, two, how, caplog):
    rewrite(folder, WRONG[how]({k: v.clone() for k, v in two[1].tensors().items()}))
    state = resumed(folder)
    assert state.step == 3 and same(state.tensors(), two[0].tensors())
    assert "step_000007.json was passed over" in caplog.text
    state.take(1)


def record_of(folder, step: int = 7) -> Path:
    return folder.path / "checkpoint" / f"step_{step:06d}.json"


@pytest.mark.parametrize("step", [-5, 10**9, True, 7.0, float("nan"), "7", None, [], 10**400, 3])
def test_a_step_that_cannot_be_is_passed_over(folder, two, step):
    record = json.loads(record_of(folder).read_text()) | {"step": step}
    record_of(folder).write_text(json.dumps(record))
    assert resumed(folder).step == 3


def test_a_step_beyond_the_job_is_passed_over_also_when_its_name_agrees(folder, two):
    for old in list((folder.path / "checkpoint").glob("step_000007.*")):
        old.rename(old.with_name(old.name.replace("000007", "999999999")))
    later = record_of(folder, 999999999)
    later.write_text(json.dumps(json.loads(later.read_text()) | {"step": 999999999}))
    assert resumed(folder).step == 3


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("how", ["pipe", "folder", "empty", "gone"])
def test_a_checkpoint_that_is_no_ordinary_file_is_passed_over(folder, two, suffix, how):
    path = record_of(folder).with_suffix(suffix)
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "empty":
        path.touch()
    assert resumed(folder).step == 3


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.99), (0.0, 0.9), (0.9, 0.7), (0.5, 0.99999)])
def test_every_average_that_gradients_have_is_taken(betas):
    """Of the worst kind, which grow as they would have to for the largest one, and of the smallest."""
    first, second = betas
    growth = second / first if first else 1.0
    gradients = [growth**step for step in range(60)], [0.0] * 59 + [1e4], [1e-19] * 60, [1e-16, *[0.0] * 200]
    for course in gradients:
        weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weight], lr=1e-3, betas=betas, eps=1e-15)
        for one in course:
            weight.grad = torch.full((3,), one)
            optimizer.step()
            state = optimizer.state[weight]
            assert checkpoint._is_average(state["exp_avg"], state["exp_avg_sq"], first, second)


@pytest.mark.parametrize("how", ["zeros", "longer", "a header of its own", "more than memory"])
def test_a_checkpoint_that_is_larger_than_it_may_be_is_not_read(folder, two, how, monkeypatch):
    path = record_of(folder).with_suffix(".safetensors")
    if how == "more than memory":
        monkeypatch.setattr(checkpoint, "free_memory", lambda device: path.stat().st_size - 1)
    else:
        header = b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
        with open(path, "r+b") as file:
            if how != "longer":
                file.truncate(0)
                file.write(b"" if how == "zeros" else len(header).to_bytes(8, "little") + header)
            file.truncate(12 * 2**30)
    whole = []

    def read(path, limit, first=None):
        whole.extend([path] if first is None else [])
        assert first is None or first < 2**20
        return read_ordinary(path, limit, first)

    monkeypatch.setattr(checkpoint, "read_ordinary", read)
    found = resumed(folder)
    assert path not in whole
    assert found is None if how == "more than memory" else found.step == 3


def test_a_bit_that_tipped_over_on_the_disk_is_found(folder, two):
    path = record_of(folder).with_suffix(".safetensors")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert resumed(folder).step == 3


def test_a_checkpoint_of_an_earlier_version_which_has_no_sum_is_used(folder, two):
    record = json.loads(record_of(folder).read_text())
    del record["sha256"]
    record_of(folder).write_text(json.dumps(record))
    assert resumed(folder).step == 7


def test_when_none_fits_the_user_is_told_that_the_job_starts_anew(folder, two):
    for step in (3, 7):
        record_of(folder, step).with_suffix(".safetensors").write_bytes(b"nothing")
    said = []
    saved = Saved(folder, HASH, STEPS)
    assert saved.newest(fresh, 0, STEPS) is None
    saved.explain(Reporter(emit=lambda warned: said.append((warned.type, warned.code))))
    assert said == [("warning", "checkpoint_unusable")]


def test_a_good_one_is_used_without_a_word(folder, two):
    saved = Saved(folder, HASH, STEPS)
    saved.newest(fresh, 0, STEPS)
    saved.explain(Reporter(emit=lambda warned: pytest.fail(warned.text)))


def test_checkpoints_of_other_settings_alone_are_an_error(folder, two):
    with pytest.raises(JobError) as caught:
        Saved(folder, "another", STEPS)
    assert caught.value.code == "bad_job_folder"


def test_any_checkpoint_is_restored_whole_or_not_at_all(folder, two):
    """A thousand ways to spoil the newest one; whatever is restored is one of the two that were stored."""
    rng = random.Random(9)
    place = record_of(folder)
    data, record = place.with_suffix(".safetensors").read_bytes(), place.read_text()
    header_size = int.from_bytes(data[:8], "little")
    stored = [state.tensors() for state in two]
    found = set()
    for _ in range(CASES // 2):
        place.write_text(record)
        kind = rng.randrange(5)
        if kind == 0:
            place.with_suffix(".safetensors").write_bytes(data)
            place.write_bytes(garbled(record.encode(), rng))
        elif kind == 1:
            place.with_suffix(".safetensors").write_bytes(data)
            spoiled = json.loads(record) | {rng.choice(("step", "spec_hash", "sha256")): value(rng, 3)}
            place.write_text(json.dumps(spoiled))
        elif kind == 2:  # the header, with a sum that is right
            header = garbled(data[8 : 8 + header_size], rng)
            new = len(header).to_bytes(8, "little") + header + data[8 + header_size :]
            place.with_suffix(".safetensors").write_bytes(new)
            place.write_text(json.dumps(json.loads(record) | {"sha256": hashlib.sha256(new).hexdigest()}))
        elif kind == 3:
            place.with_suffix(".safetensors").write_bytes(garbled(data, rng))
        else:
            rewrite(folder, spoil_tensors(load(data), rng))
        try:
            state = resumed(folder)
        except JobError as error:
            assert error.code == "bad_job_folder"
            continue
        assert any(same(state.tensors(), tensors) for tensors in stored)
        found.add(state.step)
        state.take(1)  # the fused optimizer would end the process
    assert found == {3, 7} or CASES < 1000


def spoil_tensors(tensors: dict, rng: random.Random) -> dict:
    """Other names, shapes and types, each of which the state does not have."""
    name = rng.choice(list(tensors))
    one = tensors.pop(name)
    action = rng.randrange(5)
    if action == 0:
        tensors[rng.choice(("optimizer.0.", "optimizer.7.step", "field.", "grid", "x"))] = one
    elif action == 1:
        tensors[name] = torch.zeros([rng.randrange(1, 9) for _ in range(rng.randrange(5))] + [11], dtype=one.dtype)
    elif action == 2:
        tensors[name] = one.to(rng.choice([t for t in (torch.float64, torch.int16, torch.bfloat16) if t != one.dtype]))
    elif action == 3:
        tensors[name] = torch.full(one.shape, float("nan")) if one.is_floating_point() else one.float()
    return tensors


# ---- how often -----------------------------------------------------------------------------------------------------


class Time:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("steps", [4, 90, 240, 1000])
def test_a_job_that_is_killed_loses_at_most_a_tenth_of_its_steps(monkeypatch, steps):
    time = Time()
    monkeypatch.setattr(loop, "time", time)
    clock, last, lost = StoreClock(60.0, steps, 0), 0, 0
    for step in range(1, steps):
        time.now += 0.25  # a Draft is over before the first minute
        if clock.due(step):
            clock.store(step, lambda: None)
            last = step
        lost = max(lost, step - last)
    assert lost < max(1, steps / 10) + 1 and last >= 0.8 * steps - 1
    assert clock.cost == 0.0


def test_a_large_state_is_stored_so_rarely_that_writing_takes_a_small_share(monkeypatch):
    time = Time()
    monkeypatch.setattr(loop, "time", time)
    clock, spent = StoreClock(600.0, 100, 0), 0.0

    def write():
        time.now += 2.0

    for step in range(1, 100):
        time.now += 1.0
        if clock.due(step):
            clock.store(step, write)
            spent += 2.0
    assert 0 < spent <= 2.0 + 0.03 * time.now


def test_the_interval_holds_whatever_writing_costs(monkeypatch):
    time = Time()
    monkeypatch.setattr(loop, "time", time)
    clock = StoreClock(60.0, 10**6, 0)
    clock.cost = 1e9
    time.now = 59.9
    assert not clock.due(10**5)
    time.now = 60.0
    assert clock.due(1)
