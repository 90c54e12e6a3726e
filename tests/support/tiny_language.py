"""A masked language model of a few thousand random weights, written by transformers itself as BERT is published."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] this image is depicting a view of front side back overhead red robot smil ##ing"
)


def write_bert(folder: Path, seed: int = 0, words: str = PIECES) -> Path:
    """``folder``, filled: config, safetensors, and a WordPiece vocabulary with the view words."""
    torch.manual_seed(seed)
    names = words.split()
    config = BertConfig(
        vocab_size=len(names), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, initializer_range=1.0,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    BertTokenizer(vocab={name: i for i, name in enumerate(names)}).save_pretrained(folder)
    return folder
