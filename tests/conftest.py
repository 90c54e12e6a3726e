"""What all tests take from the command line, and what none may leave behind."""

import sys

import pytest


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the tests of devices compute: cpu, cuda, cuda:1")


@pytest.fixture(autouse=True)
def torch_is_left_as_it_was():
    """Another number of threads rounds differently: a test that left one behind broke others, far away, by a bit."""
    before = _torch_state()
    yield
    after = _torch_state()
    assert before is None or after == before, f"the test left torch in another state: {after}, before it {before}"


def _torch_state():
    torch = sys.modules.get("torch")  # Blender's Python has none
    return None if torch is None else (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
