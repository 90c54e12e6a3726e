"""``csd models`` as people and Blender run it: a process of its own, with a hub on this computer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csd_blender.backend.cli import main
from tests.support.local_hub import Hub, git_sum, sha256
from tests.support.tiny_models import write_sd15

LAUNCH = Path(__file__).parents[3] / "csd_blender" / "launch.py"
NAME = "tiny/sd15"
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
ENDLESS = 600  # seconds after which a test gives up


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = write_sd15(tmp_path_factory.mktemp("published"), variant="fp16")
    return folder


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    with Hub({NAME: published}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def command(*words: str) -> list[str]:
    return [sys.executable, "-I", "-u", "-X", "utf8", str(LAUNCH), *words]


def csd(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=ENDLESS, stdin=subprocess.DEVNULL)


def child(*words: str) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(command("models", "get", *words, "--lines"), stdin=pipe, stdout=pipe, stderr=pipe)


def lines(process: subprocess.Popen) -> list[dict]:
    return [json.loads(line) for line in process.stdout]


def wait_for_bytes(process: subprocess.Popen, least: int) -> dict:
    for line in process.stdout:
        news = json.loads(line)
        assert news["type"] == "progress", news
        if news["done"] >= least:
            return news
    raise AssertionError("it ended before that")


def slow(hub: Hub, seconds: float, published: Path) -> int:
    """Let the whole download take about so long; returns its largest file's size."""
    sizes = [p.stat().st_size for p in published.rglob("*.safetensors")]
    hub.faults.per_second = int(sum(sizes) / seconds)
    return max(sizes)


def test_a_model_comes_from_the_hub_and_a_texture_is_made_with_it(hub, models, tmp_path):
    got = csd("models", "get", NAME)
    assert got.returncode == 0, got.stderr
    assert Path(got.stdout.strip()) == models / "tiny--sd15"
    assert "unknown terms" in got.stderr and "GB free" in got.stderr
    listed = next(line for line in csd("models").stdout.splitlines() if line.startswith(NAME))
    assert listed.endswith("openrail; ready")
    cube = tmp_path / "cube.obj"
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    cube.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(f"f {f}\n" for f in faces))
    few = ["--steps", "1", "--views", "1", "--resolution", "64"]
    made = csd("texture", str(cube), "--prompt", "a red mug", "--model", NAME, "--out", str(tmp_path / "job"), *few)
    assert made.returncode == 0, made.stderr
    record = json.loads((tmp_path / "job" / "result" / "result.json").read_text())
    assert record["licences"][f"model {NAME}"] == "openrail"
    assert any("“tiny/sd15” is under the licence “openrail”" in w["text"] for w in record["warnings"])


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_download_goes_on_where_it_was(hub, models, published, tmp_path):
    hub.repositories[NAME] = shutil.copytree(published, tmp_path / "larger")
    with open(tmp_path / "larger" / UNET, "ab") as file:
        file.write(b"\0" * 10**6)
    largest = slow(hub, 6, tmp_path / "larger")
    process = child(NAME)
    wait_for_bytes(process, largest // 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = (models / "tiny--sd15.part" / (UNET + ".partial")).stat().st_size
    assert kept > largest // 8 and not (models / "tiny--sd15").exists()
    assert "paused at" in csd("models", "list").stdout
    hub.faults.per_second = 0
    assert csd("models", "get", NAME).returncode == 0
    assert hub.bytes_asked(UNET)[-1] == f"bytes={kept}-"
    assert csd("models", "verify").stdout.startswith(f"{NAME:12} sound")


def test_the_child_of_blender_pauses_when_its_owner_lets_go_and_cancels_when_told(hub, models, published):
    largest = slow(hub, 6, published)
    process = child(NAME)
    news = wait_for_bytes(process, largest // 4)
    assert news["total"] > news["done"] and news["free"] > 0 and "Downloading" in news["text"]
    process.stdin.close()
    assert lines(process)[-1] == {"type": "paused"} and process.wait(ENDLESS) == 130
    assert (models / "tiny--sd15.part").is_dir()
    process = child(NAME)
    wait_for_bytes(process, 1)
    process.stdin.write(b"cancel\n")
    process.stdin.close()
    assert lines(process)[-1] == {"type": "cancelled"} and process.wait(ENDLESS) == 130
    assert not (models / "tiny--sd15.part").exists()
    hub.faults.per_second = 0
    process = child(NAME)
    assert lines(process)[-1] == {"type": "done", "folder": str(models / "tiny--sd15"), "note": ""}
    assert process.wait(ENDLESS) == 0


def test_a_child_that_waits_for_a_silent_hub_ends_soon_all_the_same(hub, models):
    hub.faults.silent = True
    process = child(NAME)
    wait_for_bytes(process, 1)
    time.sleep(0.5)
    process.stdin.close()
    began = time.monotonic()
    assert process.wait(ENDLESS) == 130 and time.monotonic() - began < 8
    assert lines(process)[-1] == {"type": "paused"}
    assert (models / "tiny--sd15.part").is_dir()


def test_what_goes_wrong_is_a_line_with_a_code(hub, models):
    process = child("nobody/nothing")
    last = lines(process)[-1]
    assert (last["type"], last["code"]) == ("error", "model_gone") and "nobody/nothing" in last["detail"]
    assert process.wait(ENDLESS) == 1


def test_nothing_but_get_goes_online_and_only_when_it_may(hub, models, monkeypatch):
    for words in (("models",), ("models", "list"), ("models", "verify")):
        assert csd(*words).returncode == 0
    assert hub.asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = csd("models", "get", NAME)
    assert done.returncode == 1 and "HF_HUB_OFFLINE" in done.stderr and hub.asked == []


# ---- without a process of its own ------------------------------------------------------------------------------------


def answer(capsys, *words: str) -> tuple[int, str, str]:
    status = main.main(["models", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_removing_and_checking_what_is_not_here_gets_a_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for words in (("remove", "sd15"), ("verify", "sd15"), ("remove", "no such thing"), ("get", "../..")):
        status, _, said = answer(capsys, *words)
        assert status == 1 or "BAD" in said
        assert "Traceback" not in said
    assert answer(capsys, "verify")[:2] == (0, "There is no downloaded model on this computer.\n")


def test_a_model_is_removed_whole_or_half_and_another_folder_can_be_named(capsys, monkeypatch, tmp_path):
    root = tmp_path / "elsewhere"
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    (root / "tiny--sd15.part").mkdir(parents=True)
    (root / "tiny--sd15").mkdir()
    status, out, _ = answer(capsys, "remove", NAME, "--folder", str(root))
    assert status == 0 and out.count("removed ") == 2
    assert not [p for p in root.iterdir() if p.is_dir()]


def test_verify_finds_a_changed_byte_in_the_hubs_cache_by_the_sums_in_its_names(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = write_sd15(tmp_path / "hub" / "models--tiny--sd15" / "snapshots" / "abc")
    blobs = tmp_path / "hub" / "models--tiny--sd15" / "blobs"
    blobs.mkdir()
    files = [p for p in folder.rglob("*") if p.is_file()]
    for file in files:
        data = file.read_bytes()
        name = sha256(data) if file.suffix == ".safetensors" else git_sum(data)
        os.replace(file, blobs / name)
        file.symlink_to(blobs / name)
    status, out, _ = answer(capsys, "verify", NAME)
    assert status == 0 and f"{len(files)} files with known sums are sound" in out
    for changed in ("unet/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"):
        data = (folder / changed).read_bytes()
        (folder / changed).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        status, out, _ = answer(capsys, "verify", NAME)
        assert status == 1 and "BAD" in out and changed in out
        (folder / changed).write_bytes(data)


def test_the_bundled_model_is_neither_bad_nor_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    status, out, _ = answer(capsys, "verify", "mini")
    assert status == 0 and "came with the program" in out
    status, _, said = answer(capsys, "remove", "mini")
    assert status == 1 and "came with the program" in said and "not on this computer" not in said


def test_a_users_own_folder_among_the_models_is_not_removed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    own = tmp_path / "models" / "sd15"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine")
    status, _, said = answer(capsys, "remove", "sd15")
    assert status == 1 and "did not come through this program" in said and (own / "mine.txt").is_file()


def test_a_record_without_files_is_not_sound(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "models" / "sd15"
    folder.mkdir(parents=True)
    about = {"id": "sd15", "source": "a", "commit": "b", "licence": "c"}
    (folder / "csd-model.json").write_text(json.dumps({**about, "files": {}}))
    status, out, _ = answer(capsys, "verify", "sd15")
    assert status == 1 and "BAD" in out and "csd-model.json is damaged" in out


def test_the_list_says_what_is_not_offered_yet(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    rows = {line.split()[0]: line for line in answer(capsys)[1].splitlines() if line.strip()}
    assert "bundled" in rows["mini"] and "CreativeML-OpenRAIL-M;" in rows["sd15"] and "2.1 GB" in rows["sd15"]
    assert "commercial use: no" in rows["if-xl"] and "yet" not in rows["if-xl"]
