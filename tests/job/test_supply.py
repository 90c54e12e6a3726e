"""Nothing is installed, and no program is run, whose SHA-256 is not in a lock: by the real pip and the real uv."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.setup import environment, package_tools, pythons, torch_builds, uv_program
from csd_blender.job.setup.environment import ensure_environment
from csd_blender.job.setup.package_lock import LOCKS, Lock, file_hash, read_pins
from csd_blender.job.setup.package_tools import Installer, parse_pip_settings
from csd_blender.job.setup.pythons import find_python
from tests.support.tiny_wheels import make_lock, make_wheel

ROOT = Path(__file__).resolve().parents[2]


def a_uv() -> Path | None:
    """A uv of this computer: the one that made the environments, or the owner's."""
    kept = sorted((ROOT / ".build" / "environments").glob("uv-*/uv*"))
    beside = sorted(Path(sys.prefix).parent.glob("uv-*/uv*"))
    found = [p for p in (*kept, *beside) if p.suffix in ("", ".exe")]
    return found[-1] if found else uv_program.of_the_owner()


def has_pip() -> bool:
    probe = [sys.executable, "-I", "-c", "import ensurepip, venv"]
    return subprocess.run(probe, capture_output=True).returncode == 0


@pytest.fixture(params=["pip", "uv"], scope="module")
def inside(request, tmp_path_factory):
    """An empty environment's Python and the tool that fills it: both installers in turn."""
    uv = a_uv() if request.param == "uv" else None
    if request.param == "uv" and uv is None or request.param == "pip" and not has_pip():
        pytest.skip(f"there is no {request.param} here")
    folder = tmp_path_factory.mktemp(request.param)
    cache = {**pythons.clean_environment(), "UV_CACHE_DIR": str(folder / "cache"), "UV_NO_CONFIG": "1"}
    installer = Installer(uv, cache)
    subprocess.run(installer.make_environment(Path(sys.executable), folder / "env"), check=True, capture_output=True)
    return installer, environment.environment_python(folder / "env")


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "tinyone", "value = 1\n")
    make_wheel(folder, "tinytwo", "value = 2\n")
    return folder


def install(inside, lock: Path, wheels: Path) -> JobError | None:
    """What Set Up would say after installing ``lock``; None when all went well."""
    installer, python = inside
    command = installer.install(python, Lock.read(lock), None, wheels)
    done = subprocess.run(
        command, env=installer.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return environment._failure(done.stdout) if done.returncode else None


def can_import(inside, module: str) -> bool:
    return subprocess.run([str(inside[1]), "-I", "-c", f"import {module}"], capture_output=True).returncode == 0


def test_a_wheel_of_the_right_name_with_other_contents_is_refused_by_name(inside, tmp_path, wheels):
    lock = make_lock(tmp_path, "tinyone==1.0", "tinytwo==1.0")
    make_wheel(wheels, "tinytwo", "import os  # something else\n")
    error = install(inside, lock, wheels)
    assert error.code == "wheel_changed" and error.detail == "tinytwo 1.0"
    assert not error.retryable and not can_import(inside, "tinytwo")


def test_a_torn_wheel_is_refused_by_name(inside, tmp_path, wheels):
    lock = make_lock(tmp_path, "tinytwo==1.0")
    path = wheels / "tinytwo-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:-40])
    error = install(inside, lock, wheels)
    assert error.code in ("wheel_changed", "setup_failed") and "tinytwo" in error.detail


def test_a_package_without_a_hash_is_refused(inside, tmp_path, wheels):
    lock = tmp_path / "tiny.txt"
    lock.write_text("tinytwo==1.0\n")
    error = install(inside, lock, wheels)
    assert error.code == "setup_failed" and "tinytwo" in error.detail and "list of packages" in error.detail


def test_what_a_package_needs_must_be_in_the_lock_too(inside, tmp_path, wheels):
    make_wheel(wheels, "needy", "", needs="tinytwo")
    error = install(inside, make_lock(tmp_path, "needy==1.0"), wheels)
    assert error.code == "setup_failed" and "tinytwo" in error.detail and not can_import(inside, "needy")


def test_what_the_lock_knows_is_installed(inside, tmp_path, wheels):
    assert install(inside, make_lock(tmp_path, "tinyone==1.0"), wheels) is None
    assert can_import(inside, "tinyone")


def test_a_changed_wheel_is_not_tried_again_with_another_tool(tmp_path, wheels, monkeypatch):
    """What uv refuses is not given to pip, which would only download it once more."""
    uv = a_uv()
    if uv is None:
        pytest.skip("there is no uv here")
    lock = make_lock(tmp_path, "tinyone==1.0")
    make_wheel(wheels, "tinyone", "value = 7\n")
    monkeypatch.setattr(uv_program, "find", lambda *_: uv)
    monkeypatch.setattr(environment, "can_use_pip", lambda _: pytest.fail("pip was thought of"))
    monkeypatch.setattr(pythons, "candidates", lambda: [Path(sys.executable)])
    with pytest.raises(JobError) as caught:
        ensure_environment(tmp_path / "root", lock, "tiny", wheel_dir=wheels)
    assert caught.value.code == "wheel_changed" and not list((tmp_path / "root").glob("tiny-*/"))


# ---- torch's build


def lock_with_builds(folder: Path, *builds: str) -> Lock:
    (folder / "main.txt").write_text("# torch: 1.0\n")
    for build in builds:
        local = "" if build == "pypi" else f"+{build}"
        (folder / f"torch-{build}.txt").write_text(f"torch==1.0{local} --hash=sha256:{'0' * 64}\n")
    return Lock.read(folder / "main.txt")


@pytest.mark.parametrize(
    ("system", "driver", "card", "build"),
    [
        ("linux", 0, (0, 0), "cpu"),
        ("linux", 580, (7, 5), "pypi"),
        ("linux", 550, (8, 9), "cpu"),
        ("linux", 590, (6, 1), "cpu"),
        ("win32", 0, (0, 0), "pypi"),
        ("win32", 581, (12, 0), "cu130"),
        ("win32", 560, (8, 6), "cu126"),
        ("win32", 590, (6, 1), "cu126"),
        ("win32", 470, (8, 6), "pypi"),
        ("darwin", 0, (0, 0), "pypi"),
    ],
)
def test_the_build_of_torch_fits_system_driver_and_card(monkeypatch, tmp_path, system, driver, card, build):
    lock = lock_with_builds(tmp_path, "pypi", "cpu", "cu126", "cu130")
    monkeypatch.setattr(torch_builds.sys, "platform", system)
    monkeypatch.setattr(torch_builds, "nvidia", lambda: (driver, card))
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    chosen = torch_builds.choose(lock, None, {})
    assert chosen.name == build and bool(chosen.index) == (build != "pypi")
    unused_card = bool(driver) and build in ("cpu", "pypi") and (system, driver) != ("linux", 580)
    assert bool(chosen.note) == unused_card


def test_the_owners_own_build_of_torch_is_not_overruled(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_builds, "nvidia", lambda: (0, (0, 0)))
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    lock = lock_with_builds(tmp_path, "pypi", "cpu", "cu130")
    assert torch_builds.choose(lock, None, {"UV_DEFAULT_INDEX": "a-mirror"}).name == "pypi"
    mine = tmp_path / "mine"
    mine.mkdir()
    assert torch_builds.choose(lock, mine, {}).name == "pypi"
    (mine / "torch-1.0+cu130-cp312-cp312-manylinux_2_28_x86_64.whl").touch()
    for chosen in (torch_builds.choose(lock, mine, {}), torch_builds.choose(lock, None, {"UV_FIND_LINKS": str(mine)})):
        assert chosen.name == "cu130" and not chosen.index and chosen.pythons == ((3, 12),)
    monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    assert torch_builds.choose(lock, None, {}).name == "cpu"


def test_a_build_of_torch_that_no_lock_knows_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_builds, "nvidia", lambda: (0, (0, 0)))
    lock = lock_with_builds(tmp_path, "pypi")
    (tmp_path / "torch-1.0+rocm7.1-cp312-cp312-linux_x86_64.whl").touch()
    with pytest.raises(JobError, match=r"torch 1\.0\+rocm7\.1"):
        torch_builds.choose(lock, tmp_path, {})


def test_only_a_build_that_is_not_at_hand_is_sought_in_torchs_own_index(tmp_path):
    lock = lock_with_builds(tmp_path, "cpu")
    (build,) = [torch_builds.TorchBuild("cpu", Lock.read(tmp_path / "torch-cpu.txt"))]
    for uv, word in ((Path("uv"), "--torch-backend"), (None, "--extra-index-url")):
        installer = Installer(uv, {})
        assert word in installer.install(Path("python"), lock, build, None)
        at_hand = torch_builds.TorchBuild("cpu", build.lock, at_hand=True)
        command = installer.install(Path("python"), lock, at_hand, tmp_path)
        assert word not in command and "--no-index" in command and "--require-hashes" in command


# ---- uv itself


def uv_wheel(folder: Path, program: bytes = b"#!/bin/sh\necho uv 0.0.1\n") -> Path:
    """A wheel that looks like uv's and holds another program."""
    folder.mkdir(exist_ok=True)
    tags = {"linux": "manylinux_2_17_{m}.manylinux2014_{m}", "darwin": "macosx_11_0_{m}", "win32": "win_{m}"}
    machine = uv_program._machines()[0]
    ends = {"darwin": {"aarch64": "arm64"}, "win32": {"x86_64": "amd64", "aarch64": "arm64"}}
    tag = tags[sys.platform].format(m=ends.get(sys.platform, {}).get(machine, machine))
    path = folder / f"uv-9.9.9-py3-none-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"uv-9.9.9.data/scripts/uv{'.exe' if sys.platform == 'win32' else ''}", program)
    return path


@pytest.fixture
def pinned_uv(tmp_path, monkeypatch):
    """A stand-in for uv's wheel, and a lock that knows it."""
    wheel = uv_wheel(tmp_path / "carried")
    lock = tmp_path / "uv.txt"
    lock.write_text(f"uv==9.9.9 --hash=sha256:{file_hash(wheel)}\n")
    monkeypatch.setattr(uv_program, "LOCK", lock)
    monkeypatch.setattr(uv_program, "CARRIED", tmp_path / "carried")
    monkeypatch.setattr(uv_program, "of_the_owner", lambda: None)
    return wheel


def never(*_):
    pytest.fail("something was run")


def test_the_carried_uv_is_unpacked_without_running_anything(tmp_path, pinned_uv):
    found = uv_program.find(tmp_path / "root", None, never)
    assert found.read_bytes().startswith(b"#!/bin/sh") and found.stat().st_mode & 0o100
    shutil.rmtree(pinned_uv.parent)
    assert uv_program.find(tmp_path / "root", None, never) == found


def test_a_changed_uv_is_never_unpacked(tmp_path, pinned_uv):
    uv_wheel(pinned_uv.parent, b"#!/bin/sh\necho evil\n")
    with pytest.raises(JobError) as caught:
        uv_program.find(tmp_path / "root", None, never)
    assert caught.value.code == "wheel_changed" and pinned_uv.name in caught.value.detail
    assert not list((tmp_path / "root").rglob("uv"))


def test_a_kept_uv_that_was_changed_is_unpacked_anew(tmp_path, pinned_uv):
    found = uv_program.find(tmp_path / "root", None, never)
    found.write_bytes(b"#!/bin/sh\necho evil\n")
    assert b"evil" not in uv_program.find(tmp_path / "root", None, never).read_bytes()


def test_a_uv_in_the_folder_of_wheels_serves_as_well(tmp_path, pinned_uv, monkeypatch):
    monkeypatch.setattr(uv_program, "CARRIED", tmp_path / "nowhere")
    assert uv_program.find(tmp_path / "root", pinned_uv.parent, never).is_file()


def test_a_downloaded_uv_that_is_not_the_pinned_one_is_left_alone(tmp_path, pinned_uv, monkeypatch):
    monkeypatch.setattr(uv_program, "CARRIED", tmp_path / "nowhere")
    monkeypatch.setattr(uv_program, "candidates", lambda: [Path("a-python")])
    asked = []

    def download(command, _):
        asked.append(command)
        uv_wheel(Path(command[command.index("-d") + 1]).parent, b"evil").replace(tmp_path / "aside")
        folder = Path(command[command.index("-d") + 1])
        folder.mkdir()
        (tmp_path / "aside").replace(folder / pinned_uv.name)

    (tmp_path / "root" / "uv-9.9.9").mkdir(parents=True)
    assert uv_program.find(tmp_path / "root", None, download) is None
    assert "--require-hashes" in asked[0] and not list((tmp_path / "root").rglob("uv"))


# ---- a Python, and what to say where there is none


def test_a_missing_python_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(pythons, "candidates", lambda: [Path(sys.executable)])
    with pytest.raises(JobError) as caught:
        find_python([(3, 7)], None, {}, None)
    assert caught.value.code == "setup_needs" and "3.7" in caught.value.detail
    assert "ry again" not in caught.value.message and "zip for your system" in caught.value.message


@pytest.mark.parametrize(
    ("release", "uv", "venv"),
    [
        ('ID=debian\nVERSION_ID="14"\n', "pipx install uv", "apt install python3-venv"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "pipx install uv", "apt install python3-venv"),
        ("ID=fedora\n", "dnf install uv", "dnf install python3-pip"),
        ("ID=endeavouros\nID_LIKE=arch\n", "pacman -S uv", "pacman -S python-pip"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "zypper install uv", "zypper install python3-pip"),
    ],
)
def test_each_distribution_is_told_its_own_command(monkeypatch, tmp_path, release, uv, venv):
    (tmp_path / "os-release").write_text(release)
    families = pythons.linux_families(str(tmp_path / "os-release"))
    monkeypatch.setattr(pythons, "linux_families", lambda: families)
    monkeypatch.setattr(pythons.sys, "platform", "linux")
    too_new = pythons.what_to_install([(3, 11), (3, 12), (3, 13)], [(Path("p"), (3, 14))], None)
    assert uv in too_new and "3.14" in too_new and "3.11 to 3.13" in too_new
    assert venv in pythons.what_to_install([(3, 11), (3, 12), (3, 13)], [(Path("p"), (3, 12))], None)


def test_with_uv_a_python_that_is_too_new_is_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(pythons, "candidates", lambda: [Path(sys.executable)])
    monkeypatch.setattr(pythons, "version_of", lambda _: (3, 14))
    fetched, asked = tmp_path / "python3.11", []

    def run(command, _):
        asked.append(command[1:3])
        if command[2] == "install":
            fetched.touch()
            return "Installed Python 3.11"
        if not fetched.exists():
            raise JobError("setup_failed", "none found")
        return f"{fetched}\n"

    assert find_python([(3, 11), (3, 12)], Path("uv"), {}, run) == fetched
    assert asked[-2:] == [["python", "install"], ["python", "find"]]
    fetched.unlink()
    monkeypatch.setattr(Path, "touch", lambda _: None)  # the download brings nothing
    with pytest.raises(JobError, match="go online"):
        find_python([(3, 11)], Path("uv"), {}, run)


# ---- pip's settings


def test_everything_pip_is_told_reaches_uv(monkeypatch, tmp_path):
    listing = (
        ":env:.find-links='/a b/'\n"
        "global.find-links='\\n/wheels\\n/more'\n"
        f"global.extra-index-url='file://{tmp_path.as_posix()} file:///no/such/folder'\n"
        "user.index-url='an-index'\n"
        "global.index-url='another-index'\n"
        "freeze.index-url='not this one'\n"
        "global.cert='/certificates'\n"
    )
    found = parse_pip_settings(listing)
    assert found["find-links"] == ["/a", "b/"]  # the environment beats the files
    assert found["extra-index-url"] == [f"file://{tmp_path.as_posix()}"]  # a missing folder is passed over, as by pip
    assert found["index-url"] == ["an-index"] and found["cert"] == ["/certificates"]
    assert parse_pip_settings(listing.partition("\n")[2])["find-links"] == ["/wheels", "/more"]
    for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setattr(package_tools, "_pip_settings", lambda: found)
    env = package_tools.uv_environment(tmp_path)
    assert env["UV_DEFAULT_INDEX"] == "an-index" and env["UV_INDEX"] == found["extra-index-url"][0]
    assert env["SSL_CERT_FILE"] == "/certificates" and env["UV_FIND_LINKS"] == "/a,b/" and "PYTHONPATH" not in env


# ---- the locks themselves

ALL_LOCKS = [*sorted(LOCKS.glob("*.txt")), ROOT / "tools" / "locks" / "check.txt"]


@pytest.mark.parametrize("path", ALL_LOCKS, ids=lambda path: path.stem)
def test_every_package_of_a_lock_is_pinned_with_hashes(path):
    lock = Lock.read(path)
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "# "]
    assert len(lock.pins) == len(lines) and all(pin.hashes for pin in lock.pins)
    names = [pin.name for pin in lock.pins]
    assert len(set(names)) == len(names) and "==" in lines[0]
    assert "://" not in re.sub(r"^#.*$", "", path.read_text(), flags=re.MULTILINE)


def test_the_backend_has_a_lock_for_every_build_of_torch_that_may_be_chosen():
    backend = Lock.read(LOCKS / "backend.txt")
    assert backend.size_mb > 500 and backend.check.startswith("import ")
    assert len(backend.check_seconds) == backend.check.count(",") + 1
    listed = {pin.name for pin in backend.pins}
    for build in ("pypi", "cpu", "cu126", "cu130"):
        lock = Lock.read(LOCKS / f"torch-{build}.txt")
        (torch,) = [pin for pin in lock.pins if pin.name == "torch"]
        assert torch.version == backend.torch + ("" if build == "pypi" else f"+{build}")
        assert not listed & {pin.name for pin in lock.pins}
        assert all(pin.marker for pin in lock.pins if pin is not torch), "CUDA's libraries are for Linux only"


def test_comments_and_hashes_do_not_change_a_lock_but_versions_do(tmp_path):
    one = Lock.read(make_lock(tmp_path, "a==1", "B==2")).digest
    assert Lock.read(make_lock(tmp_path, "# words", "b==2", "", "a==1")).digest == one
    assert Lock.read(make_lock(tmp_path, f"a==1 \\\n    --hash=sha256:{'0' * 64}", "b==2")).digest == one
    assert Lock.read(make_lock(tmp_path, "a==1", "b==3")).digest != one
    assert Lock.read(make_lock(tmp_path, "# torch: 9.0", "a==1", "b==2")).digest != one


def test_pins_are_read_with_marker_and_all_hashes():
    first, second = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    hashes = f" \\\n    --hash=sha256:{first} \\\n    --hash=sha256:{second}\n"
    text = f"a-b==1.0+cpu ; sys_platform == 'win32'{hashes}c==2\n"
    (one, two) = read_pins(text)
    assert (one.name, one.version, one.marker) == ("a-b", "1.0+cpu", "sys_platform == 'win32'")
    assert one.hashes == {first, second} and (two.name, two.marker, two.hashes) == ("c", "", frozenset())
