"""A whole download, and everything that can happen to one, against a server on this computer."""

from __future__ import annotations

import os
import shutil

import pytest

from csd_blender.backend.diffusion.loading import find_model, load_model
from csd_blender.backend.hub.fetch import Stopped
from csd_blender.backend.hub.get import get_model
from csd_blender.job.errors import JobError
from csd_blender.job.models import catalogue, store
from csd_blender.job.models.catalogue import entry_of
from csd_blender.job.models.files import read_model
from csd_blender.job.models.states import look_at, look_at_all
from tests.support.local_hub import COMMIT, sha256
from tests.support.model_kit import NAME, UNET, get, names_in, refused
from tests.support.tiny_models import write_zero123

# ---- all goes well ---------------------------------------------------------------------------------------------------


def test_only_what_a_model_needs_comes_and_jobs_find_it_by_its_name(hub, models):
    told = []
    folder = get(models, report=told.append)
    assert folder == models / "tiny--sd15" == find_model(NAME)
    assert names_in(folder) == sorted(
        [
            *("LICENSE.md", "csd-model.json", "model_index.json", "scheduler/scheduler_config.json"),
            *("text_encoder/config.json", "text_encoder/model.fp16.safetensors"),
            *(n for n in names_in(folder) if n.startswith("tokenizer/")),
            *("unet/config.json", UNET, "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"),
        ]
    )
    assert load_model(NAME, __import__("torch").device("cpu")).native_size == 512
    assert told[-1].done == told[-1].total > 0 and told[0].free > 0
    assert all(a.done <= b.done for a, b in zip(told, told[1:], strict=False))


def test_the_record_says_where_each_file_is_from_and_what_it_was(hub, models, published):
    record = store.read_record(get(models))
    assert (record.id, record.source, record.commit, record.licence) == (NAME, NAME, COMMIT, "openrail")
    for file in record.files:
        data = (published / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), sha256(data))


def test_a_model_that_is_here_is_not_asked_for_again(hub, models):
    get(models)
    hub.asked.clear()
    assert get(models) == models / "tiny--sd15" and hub.asked == []


def test_without_half_precision_the_usual_weights_come(hub, models, published):
    (published / UNET).unlink()
    assert "unet/diffusion_pytorch_model.safetensors" in names_in(get(models))


def test_weights_in_pieces_come_with_their_list(hub, models, published):
    pieces = [f"unet/diffusion_pytorch_model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for piece in pieces:
        shutil.copy(published / UNET, published / piece)
    (published / UNET).unlink()
    (published / "unet/diffusion_pytorch_model.safetensors").unlink()
    (published / "unet/diffusion_pytorch_model.safetensors.index.fp16.json").write_text('{"weight_map": {}}')
    found = names_in(get(models))
    assert {*pieces, "unet/diffusion_pytorch_model.safetensors.index.fp16.json"} <= set(found)


def test_files_of_the_hubs_cache_are_not_downloaded_again(hub, models, published, tmp_path):
    data = (published / UNET).read_bytes()
    blob = tmp_path / "cache" / "models--tiny--sd15" / "blobs" / sha256(data)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    folder = get(models)
    assert (folder / UNET).read_bytes() == data and hub.bytes_asked(UNET) == []


def test_a_damaged_blob_of_the_hubs_cache_is_not_taken_and_not_touched(hub, models, published, tmp_path):
    data = (published / UNET).read_bytes()
    blob = tmp_path / "cache" / "models--tiny--sd15" / "blobs" / sha256(data)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"?" * len(data))
    assert (get(models) / UNET).read_bytes() == data
    assert blob.read_bytes() == b"?" * len(data)


def test_a_whole_copy_in_the_hubs_cache_is_used_as_it_is(hub, models, written, tmp_path):
    snapshot = tmp_path / "cache" / "models--tiny--sd15" / "snapshots" / COMMIT
    shutil.copytree(written, snapshot, ignore=shutil.ignore_patterns("*.py"))
    assert get(models) == snapshot and hub.asked == []
    found = look_at(entry_of(NAME), models)
    assert found.state == "ready" and not found.own and "cache" in found.text


# ---- the line breaks -------------------------------------------------------------------------------------------------


def test_a_connection_that_is_cut_is_made_again_where_it_broke(hub, models, published):
    hub.faults.cut, hub.faults.cuts = 7000, 3
    folder = get(models)
    assert (folder / UNET).read_bytes() == (published / UNET).read_bytes()
    assert any(wanted.startswith("bytes=") for wanted in hub.bytes_asked(".safetensors"))


def test_a_line_that_brings_nothing_is_given_up_with_a_sentence_and_what_came_is_kept(hub, models, monkeypatch):
    hub.faults.cut, hub.faults.cuts = 7000, 1
    monkeypatch.setattr("csd_blender.backend.hub.fetch.http_get", cut_once_then_dead())
    error = refused(models, "download_failed")
    assert "broke off" in error.detail and "kept" in error.fix and error.retryable
    found = look_at(entry_of(NAME), models)
    assert found.state == "paused" and 0 < found.done < found.total


def cut_once_then_dead():
    """The client's own function for the first large file's beginning; then the network is gone."""
    import httpx2
    from huggingface_hub.file_download import http_get

    calls = []

    def call(url, file, **wishes):
        if url.endswith(".safetensors"):
            calls.append(url)
            if len(calls) == 1:
                file.write(b"x" * 100)
            raise httpx2.ConnectError("no route")
        return http_get(url, file, **wishes)

    return call


def test_a_server_that_is_not_there_gets_a_sentence(hub, models, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    error = refused(models, "download_failed")
    assert "127.0.0.1:9" in error.detail
    assert not (models / "tiny--sd15.part").exists()


def test_a_stop_keeps_what_came_and_the_next_try_goes_on_there(hub, models, published):
    size = (published / UNET).stat().st_size
    asked = []

    def stop():
        asked.append(1)
        part = models / "tiny--sd15.part" / (UNET + ".partial")
        return part.exists() and part.stat().st_size > size // 2

    with pytest.raises(Stopped):
        get(models, stop=stop)
    partial = models / "tiny--sd15.part" / (UNET + ".partial")
    kept = partial.stat().st_size
    assert size // 2 < kept < size and asked
    assert look_at(entry_of(NAME), models).text.startswith("paused at")
    assert [found.entry.id for found in look_at_all(models)][-1] == NAME
    hub.asked.clear()
    assert (get(models) / UNET).read_bytes() == (published / UNET).read_bytes()
    assert hub.bytes_asked(UNET) == [f"bytes={kept}-"] * 2  # the repository's address, then where it sends us


def test_a_server_that_knows_no_ranges_sends_all_anew(hub, models, published):
    part = models / "tiny--sd15.part" / (UNET + ".partial")
    part.parent.mkdir(parents=True)
    part.write_bytes((published / UNET).read_bytes()[:5000])
    hub.faults.ranges = False
    assert (get(models) / UNET).read_bytes() == (published / UNET).read_bytes()


def test_a_download_goes_on_with_the_state_that_it_began_with(hub, models):
    hub.faults.status = 500
    refused(models, "download_failed")
    hub.faults.status = 0
    hub.commit = "d" * 40  # in the meantime the publisher changed something; that state is gone from this server
    hub.asked.clear()
    record = store.read_record(get(models))
    assert record.commit == "d" * 40
    assert [p for _, p, _ in hub.asked if p.startswith("/api")] == [
        f"/api/models/{NAME}/revision/{COMMIT}",
        f"/api/models/{NAME}",
    ]


# ---- what comes is not what was announced ----------------------------------------------------------------------------


def test_a_wrong_file_is_refused_by_name_and_deleted(hub, models):
    hub.faults.wrong = (UNET,)
    error = refused(models, "model_changed")
    assert UNET in error.detail
    assert not [n for n in names_in(models) if "diffusion_pytorch_model" in n and "unet" in n]
    assert look_at(entry_of(NAME), models).state == "paused"
    hub.faults.wrong = ()
    assert find_model(NAME) == get(models) if (models / "tiny--sd15").exists() else get(models)


def test_a_wrong_piece_from_an_earlier_try_costs_one_more_download_and_no_question(hub, models, published):
    part = models / "tiny--sd15.part" / (UNET + ".partial")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 5000)
    assert (get(models) / UNET).read_bytes() == (published / UNET).read_bytes()


def test_small_files_are_held_against_gits_own_sum(hub, models):
    hub.faults.wrong = ("unet/config.json",)
    assert "unet/config.json" in refused(models, "model_changed").detail


def test_a_file_whose_sum_was_looked_up_is_refused_before_it_is_downloaded(hub, models, monkeypatch):
    entry = catalogue.ModelEntry("tiny", "sd", "Tiny", (NAME,), "tests", "MIT", "yes", 1, 1, 512, sums={UNET: "0" * 64})
    with pytest.raises(JobError, match="looked up") as caught:
        get_model(entry, models)
    assert caught.value.code == "model_changed" and hub.bytes_asked(UNET) == []


def test_a_file_must_be_what_it_was_when_it_came_first_also_after_it_was_removed(hub, models, published):
    store.remove(get(models))
    with open(published / UNET, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    error = refused(models, "model_changed")
    assert "came first" in error.detail and "--new-version" in error.fix
    get(models, new_version=True)
    store.remove(models / "tiny--sd15")
    get(models)  # the new ones are those that are known now


# ---- afterwards ------------------------------------------------------------------------------------------------------


def test_a_copy_of_which_a_file_is_gone_is_named_and_mended(hub, models):
    folder = get(models)
    (folder / UNET).unlink()
    found = look_at(entry_of(NAME), models)
    assert found.state == "broken" and UNET in found.text
    with pytest.raises(JobError, match=UNET):
        find_model(NAME)
    hub.asked.clear()
    assert get(models) == folder and look_at(entry_of(NAME), models).state == "ready"
    assert hub.bytes_asked("vae/diffusion_pytorch_model.fp16.safetensors") == []


def test_a_changed_file_is_found_by_verify(hub, models):
    folder = get(models)
    record = store.read_record(folder)
    store.verify(folder, record)
    with open(folder / UNET, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    with pytest.raises(JobError, match=UNET) as caught:
        store.verify(folder, record)
    assert caught.value.code == "model_changed"


# ---- what else lies there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".part"])
def test_a_users_own_folder_in_the_models_place_is_neither_taken_nor_changed_nor_removed(hub, models, ending):
    own = models / f"tiny--sd15{ending}"
    (own / "unet").mkdir(parents=True)
    (own / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"of my own")
    error = refused(models, "no_permission")
    assert str(own) in error.detail and "did not come through" in error.detail and "Move it" in error.fix
    with pytest.raises(JobError, match="did not come through"):
        store.remove(own)
    assert names_in(own) == ["unet/diffusion_pytorch_model.safetensors"] and hub.asked == []


def test_a_link_in_the_models_place_is_named_and_what_it_leads_to_stays(hub, models, tmp_path):
    folder = get(models)
    os.replace(folder, tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert get(models) == folder  # (it serves all the same)
    with pytest.raises(JobError, match=f"is a link to {tmp_path / 'moved'}"):
        store.remove(folder)
    assert folder.is_symlink() and (tmp_path / "moved" / UNET).is_file()


def test_weights_of_an_older_state_do_not_stay_beside_those_of_a_new_one(hub, models, published):
    """Of two kinds of weights jobs read the usual ones: old ones beside new ones would count."""
    for place in published.rglob("*.fp16.safetensors"):
        os.replace(place, place.with_name(place.name.replace(".fp16", "")))
    folder = get(models)
    old = [name for name in names_in(folder) if name.endswith(".safetensors")]
    (folder / old[0]).unlink()
    for place in published.rglob("*.safetensors"):
        os.replace(place, place.with_name(place.name.replace(".safetensors", ".fp16.safetensors")))
    found = [name for name in names_in(get(models, new_version=True)) if name.endswith(".safetensors")]
    assert found == [name.replace(".safetensors", ".fp16.safetensors") for name in old]


def test_a_model_that_is_told_a_picture_comes_whole_and_counts_as_whole(hub, models, published):
    shutil.rmtree(published)
    write_zero123(published)
    folder = get(models)
    assert {"image_encoder/model.safetensors", "cc_projection/config.json"} <= set(names_in(folder))
    read_model(folder, "picture")
    assert look_at(entry_of(NAME)).state == "ready"
