"""Weights are exactly those that the files hold, however these are divided; what does not fit is named."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.support.damage import WEIGHTS, edit_json, edit_weights, loads, refusal
from tests.support.tiny_models import write_sd15


@pytest.mark.parametrize("part", WEIGHTS)
def test_foreign_missing_unknown_or_misshapen_weights_are_named(copy, sd15_folder, part):
    file = copy / part / WEIGHTS[part]
    keys = sorted(load_file(file))
    matrix = next(k for k in keys if load_file(file)[k].ndim >= 2)

    def damage(change):
        shutil.copy(sd15_folder / part / WEIGHTS[part], file)
        edit_weights(file, change)
        message = refusal(copy)
        assert str(file) in message
        return message

    def rename_all(tensors):
        for key in keys:
            tensors["foreign." + key] = tensors.pop(key)

    assert "lacks" in (message := damage(rename_all)) and "foreign." in message and keys[0] in message
    assert f"lacks {matrix}" in damage(lambda tensors: tensors.pop(matrix))
    assert "unknown weights: stranger" in damage(lambda tensors: tensors.update(stranger=torch.zeros(2)))
    assert matrix in (message := damage(lambda tensors: tensors.update({matrix: torch.zeros(3, 5)})))
    assert "another shape" in message
    poisoned = load_file(sd15_folder / part / WEIGHTS[part])[matrix].clone()
    poisoned.view(-1)[-1] = float("nan")
    assert matrix in (message := damage(lambda tensors: tensors.update({matrix: poisoned})))
    assert "invalid numbers" in message


@pytest.mark.parametrize("part", WEIGHTS)
def test_whole_numbers_in_place_of_weights_are_named(copy, part):
    file = copy / part / WEIGHTS[part]
    matrix = next(k for k, v in sorted(load_file(file).items()) if v.ndim >= 2)
    edit_weights(file, lambda tensors: tensors.update({matrix: (tensors[matrix] * 50).to(torch.int8)}))
    assert str(file) in (message := refusal(copy)) and matrix in message and "I8" in message


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_download_that_only_reserved_its_place_is_named(copy, part):
    file = copy / part / WEIGHTS[part]
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3] + bytes(len(data) - len(data) * 2 // 3))
    assert str(file) in (message := refusal(copy)) and "nothing but zeros" in message and "Download" in message


def test_numbers_that_old_checkpoints_count_by_do_no_harm(copy):
    count = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    edit_weights(copy / "text_encoder" / WEIGHTS["text_encoder"], lambda tensors: tensors.update(count))
    assert loads(copy)


def test_merges_that_are_cut_off_are_named_and_not_read_letter_by_letter(copy):
    tokenizer = copy / "tokenizer"
    words = json.loads((tokenizer / "vocab.json").read_text())
    composed = {"re": len(words), "red</w>": len(words) + 1}
    (tokenizer / "vocab.json").write_text(json.dumps(words | composed))
    for text, what in (("#version: 0.2\nr e\n", "1 of 2 merges"), ("<html> not found\n" * 9, "damaged")):
        (tokenizer / "merges.txt").write_text(text)
        assert str(tokenizer / "merges.txt") in (message := refusal(copy)) and what in message


def test_a_vocabulary_that_is_damaged_is_named(copy, if_folder, tmp_path):
    vocab = copy / "tokenizer" / "vocab.json"
    words = json.loads(vocab.read_text())
    for damage in (
        {"a": "b"},
        dict.fromkeys(words, 5),
        {word: 10 * number for word, number in words.items()},
        {word: number + 2**40 for word, number in words.items()},
        {word: number for word, number in words.items() if word != "<|endoftext|>"},
    ):
        vocab.write_text(json.dumps(damage))
        assert str(vocab) in refusal(copy)
    folder = shutil.copytree(if_folder, tmp_path / "if")
    spiece = folder / "tokenizer" / "spiece.model"
    for damage in (b"garbage" * 20, spiece.read_bytes()[:-500], b""):
        spiece.write_bytes(damage)
        assert str(spiece) in refusal(folder)


def test_settings_that_do_not_fit_the_weights_are_named(copy):
    edit_json(copy / "unet" / "config.json", cross_attention_dim=24)
    assert "attn2.to_k.weight" in refusal(copy)


def test_a_text_encoder_of_another_width_or_vocabulary_is_named_before_the_first_step(copy, if_folder):
    edit_json(copy / "text_encoder" / "config.json", vocab_size=50)
    edit_weights(
        copy / "text_encoder" / WEIGHTS["text_encoder"],
        lambda tensors: tensors.update(
            {k: v[:50].clone() for k, v in tensors.items() if k.endswith("token_embedding.weight")}
        ),
    )
    assert "190 tokens" in refusal(copy)
    shutil.rmtree(copy / "unet")
    shutil.copytree(if_folder / "unet", copy / "unet")
    assert "takes 3 channels" in refusal(copy)


def same_values(model, other):
    pairs = zip(model.unet.parameters(), other.unet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(model.encode_prompts(["a mug"]).text, other.encode_prompts(["a mug"]).text)


def test_variants_load_when_there_is_nothing_else(sd15_folder, tmp_path):
    same_values(loads(write_sd15(tmp_path / "half", variant="fp16")), loads(sd15_folder))
    other = shutil.copytree(tmp_path / "half", tmp_path / "ema")
    (other / "unet" / "diffusion_pytorch_model.safetensors.index.json").symlink_to("not-downloaded")
    same_values(loads(other), loads(sd15_folder))
    file = other / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    file.rename(other / "unet" / "diffusion_pytorch_model.non_ema.safetensors")
    same_values(loads(other), loads(sd15_folder))


def test_a_list_of_pieces_that_are_gone_beside_a_whole_file_is_named(copy):
    """Diffusers would take the list."""
    index = copy / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    piece = "diffusion_pytorch_model-00001-of-00002.safetensors"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": piece}}))
    assert f"{piece} is missing" in refusal(copy)
    index.unlink()
    index.symlink_to("not-downloaded")
    loads(copy)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_in_pieces_load_and_a_missing_piece_is_named(sd15_folder, tmp_path, variant):
    whole, folder = loads(sd15_folder), shutil.copytree(sd15_folder, tmp_path / "my models.v1.5 \u00fc" / "sd 1.5")
    for part, network in (("unet", whole.unet), ("text_encoder", whole.text.encoder), ("vae", whole.vae)):
        (folder / part / WEIGHTS[part]).unlink()
        network.save_pretrained(folder / part, max_shard_size="20KB", variant=variant)
        pieces = sorted((folder / part).glob("*-of-*.safetensors"))
        assert len(pieces) > 1
    same_values(loads(folder), whole)
    piece = sorted((folder / "unet").glob("*-of-*.safetensors"))[1]
    held = piece.read_bytes()
    piece.unlink()
    assert str(piece) in refusal(folder)
    piece.write_bytes(held)
    edit_weights(piece, lambda tensors: tensors.pop(sorted(tensors)[0]))
    assert str(piece) in refusal(folder)
    piece.write_bytes(held)
    index = next((folder / "unet").glob("*.index*.json"))
    edit_json(index, weight_map={"conv_in.weight": "../../elsewhere.safetensors"})
    assert str(index) in refusal(folder)
