"""Random numbers from one generator are torch's own; from several, each item has those of its own one."""

import pytest
import torch

from csd_blender.backend.support.draws import normal, uniform, whole_numbers


def seeded(*seeds):
    found = [torch.Generator().manual_seed(seed) for seed in seeds]
    return found if len(found) > 1 else found[0]


def test_one_generator_gives_what_torch_gives():
    assert torch.equal(normal((3, 2, 4), seeded(5)), torch.randn((3, 2, 4), generator=seeded(5)))
    assert torch.equal(uniform(7, seeded(5)), torch.rand(7, generator=seeded(5)))
    assert torch.equal(whole_numbers(3, 9, 7, seeded(5)), torch.randint(3, 10, (7,), generator=seeded(5)))


def test_an_item_s_numbers_do_not_depend_on_the_others():
    both, last = seeded(1, 2), seeded(8, 9, 2)
    for draw in (
        lambda g: normal((len(g), 2, 4), g),
        lambda g: uniform(len(g), g),
        lambda g: whole_numbers(0, 10**6, len(g), g),
    ):
        found, other = draw(both), draw(last)
        assert torch.equal(found[1], other[2]) and not torch.equal(found[0], found[1])


def test_a_generator_too_few_is_told():
    with pytest.raises(ValueError, match="3 items with 2 generators"):
        normal((3, 2), seeded(1, 2))
