"""Memory that runs out in the middle of a job."""

from __future__ import annotations

from collections.abc import Container

import torch


def hungry(monkeypatch, model, on_calls: Container[int], error: type[Exception] = torch.OutOfMemoryError) -> None:
    """Let memory run out at these calls of the model's network (counted from 0), told as torch or CUDA tell it."""
    predict, calls = model.predict_noise, [0]

    def predict_or_fail(noisy, t, embeddings):
        calls[0] += 1
        if calls[0] - 1 in on_calls:
            raise error("CUDA error: out of memory")
        return predict(noisy, t, embeddings)

    monkeypatch.setattr(model, "predict_noise", predict_or_fail)
