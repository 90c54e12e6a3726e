"""THIRD_PARTY.md names every package that can be installed, and no other."""

import re

import pytest

from csd_blender.job.setup.package_lock import LOCKS, read_pins
from tools.commands import lock, third_party

PAGE = third_party.PAGE.read_text("utf-8")


def rows() -> list[tuple[str, str, str]]:
    """(name, version, licence) as the page shows them."""
    found = re.findall(r"^\| (?:\[([\w.-]+)\]\([^)]*\)|([\w.-]+)) \| ([0-9][\w.]*) \| ([^|]+?) \|", PAGE, re.MULTILINE)
    return [(linked or plain, version, licence) for linked, plain, version, licence in found]


def test_every_package_of_every_lock_is_on_the_page_and_nothing_else():
    paths = [*LOCKS.glob("*.txt"), third_party.CHECK]
    all_pins = [pin for path in paths for pin in read_pins(path.read_text())]
    pins = {(pin.name.lower().replace("_", "-"), pin.version.partition("+")[0]) for pin in all_pins}
    assert len(paths) >= 8 and len(pins) > 80
    assert {(name, version) for name, version, _ in rows()} == pins


def test_the_page_is_the_one_that_the_locks_give():
    assert third_party.page() == PAGE, "run `python3 build.py lock`"


def test_every_licence_fits_the_gpl_or_is_marked():
    for name, _, licence in rows():
        assert third_party.fits(licence.removesuffix(" ⚠")) != licence.endswith("⚠"), name
    marked = {name for name, _, licence in rows() if licence.endswith("⚠")}
    assert {"nvidia-cublas", "regex"} <= marked and not marked & {"torch", "numpy", "uv", "bpy"}


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT", True),
        ("Apache-2.0 WITH LLVM-exception AND BSD-3-Clause", True),
        ("MIT OR LicenseRef-NVIDIA", True),
        ("MIT AND LicenseRef-NVIDIA", False),
        ("GPL-2.0-only", False),
        ("?", False),
    ],
)
def test_all_parts_of_a_licence_must_fit_and_one_of_its_choices(licence, good):
    assert third_party.fits(licence) == good


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"license_expression": "MIT", "license": "see LICENSE"}, "MIT"),
        ({"license": "Apache 2.0 License"}, "Apache-2.0"),
        ({"license": "MPL-2.0 AND MIT"}, "MPL-2.0 AND MIT"),
        ({"license": None, "classifier": ["License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"classifier": ["License :: OSI Approved :: BSD License"]}, ""),  # which of them, a person must say
        ({"license": "my own terms"}, ""),
        ({}, ""),
    ],
)
def test_a_licence_is_read_from_the_metadata_only_where_it_is_clear(metadata, licence):
    assert third_party.licence_of(metadata) == licence


# ---- the lock's writer


@pytest.mark.parametrize(
    ("wheel", "fitting"),
    [
        ("a-1-py3-none-any.whl", set(lock.SYSTEMS)),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", {"linux-x64"}),
        ("a-1-cp310-abi3-manylinux_2_28_aarch64.whl", {"linux-arm64"}),
        ("a-1-cp312-cp312-macosx_11_0_universal2.whl", {"macos-arm64", "macos-x64"}),
        ("a-1-cp312-cp312-win_amd64.whl", {"windows-x64"}),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", set()),
        ("a-1-cp313-abi3-win_amd64.whl", set()),
        ("a-1-cp312-cp312t-win_amd64.whl", set()),
        ("a-1-pp311-pypy311_pp73-win_amd64.whl", set()),
    ],
)
def test_a_wheels_name_tells_where_it_runs(wheel, fitting):
    assert {system for system in lock.SYSTEMS if lock.fits(wheel, system, 12)} == fitting


def test_a_source_is_listed_only_where_a_system_has_no_wheel():
    plan = lock.Plan(LOCKS, ("linux-x64", "linux-arm64"), (12,))
    wheel = ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", "1" * 64)
    arm = ("a-1-cp312-cp312-manylinux_2_17_aarch64.whl", "2" * 64)
    source = ("a-1.tar.gz", "3" * 64)
    whole = lock.entry(plan, lock.Package("a", "1", "", (wheel, arm, source)))
    assert "1" * 64 in whole and "2" * 64 in whole and "3" * 64 not in whole
    assert "3" * 64 in lock.entry(plan, lock.Package("a", "1", "", (wheel, source)))
    (pin,) = read_pins(lock.entry(plan, lock.Package("a", "1", "sys_platform == 'linux'", (wheel, arm))))
    assert (pin.marker, pin.hashes) == ("sys_platform == 'linux'", {"1" * 64, "2" * 64})


def test_plain_lines_are_taken_as_wanted_wherever_they_stand():
    text = f"# a head\na==1 --hash=sha256:{'0' * 64}\nnew==2\n{lock.IN_TURN}\nb==3 --hash=sha256:{'0' * 64}\nlate==4\n"
    assert [(pin.name, pin.version) for pin in lock.direct_pins(text)] == [("a", "1"), ("new", "2"), ("late", "4")]
