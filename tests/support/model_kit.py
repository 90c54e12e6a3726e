"""Getting models in tests: from the hub on this computer, into a folder of the test's own."""

from __future__ import annotations

import pytest

from csd_blender.backend.hub.get import get_model
from csd_blender.job.errors import JobError
from csd_blender.job.models.catalogue import entry_of

NAME = "tiny/sd15"
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


def get(models, name=NAME, **wishes):
    entry = entry_of(name)
    assert entry is not None
    return get_model(entry, models, **wishes)


def refused(models, code, name=NAME, **wishes) -> JobError:
    with pytest.raises(JobError) as caught:
        get(models, name, **wishes)
    assert caught.value.code == code, caught.value
    assert "Traceback" not in caught.value.message and len(caught.value.message) < 600
    return caught.value


def names_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
