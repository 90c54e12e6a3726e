"""The fake worker for jobs that make an object: same modes, but its previews and results are meshes."""

import json
import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support import fake_worker  # noqa: E402

STAGES = {"prepare": ("load", "Loading the model"), "paint": ("coarse", "Shaping")}


def arrays(step):
    count = 3 + step % 40
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    positions = np.concatenate([ring, [[0, 0, 1]]]).astype(np.float32)
    i = np.arange(count)
    return positions, np.stack([i, (i + 1) % count, np.full(count, count)], 1).astype(np.int32)


def save(path, **values):
    with open(f"{path}.tmp", "wb") as file:
        np.savez(file, **values)
    os.replace(f"{path}.tmp", path)


def preview(folder, job, step, _total):
    positions, triangles = arrays(step)
    save(folder / "preview" / "mesh.npz", positions=positions, triangles=triangles, colors=np.uint8(positions * 200))
    send("preview", job, path="preview/mesh.npz", kind="mesh", part=0, step=step)
    fake_worker.replace(folder / "preview" / "view.rgba", bytes(64 * 64 * 4))
    send("preview", job, path="preview/view.rgba", width=64, height=64, kind="view", part=0, step=step)


def write_result(folder, step, total):
    positions, triangles = arrays(step)
    save(folder / "result" / "mesh.npz", positions=positions, triangles=triangles, uv=positions[triangles][:, :, :2])
    fake_worker.replace(folder / "result" / "albedo.png", fake_worker.png(4, 4, bytes((200, 30, 10)) * 16))
    record = {
        "settings": json.loads((folder / "job.json").read_text()),
        "complete": step == total,
        "kind": "text-to-3d",
        "parts": [{"name": "object", "albedo": "result/albedo.png", "uv_source": "new"}],
    }
    fake_worker.replace(folder / "result" / "result.json", json.dumps(record).encode())
    return {"mesh": "result/mesh.npz", "albedo": "result/albedo.png"}


real_send = fake_worker.send


def send(kind, job="", /, **body):
    if kind == "stage" and body["name"] in STAGES:
        body["name"], body["label"] = STAGES[body["name"]]
    real_send(kind, job, **body)


if __name__ == "__main__":
    fake_worker.send, fake_worker.preview, fake_worker.write_result = send, preview, write_result
    fake_worker.main()
