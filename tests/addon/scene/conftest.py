"""What tests of slots and of linked duplicates begin with."""

import pytest

from tests.support.blender import cube, select
from tests.support.by_hand import HandJob


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        select(cube())
        return HandJob(monkeypatch, **settings)

    return make
