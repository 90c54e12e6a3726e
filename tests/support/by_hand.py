"""A job whose backend is the test itself: messages and files are made here, one by one."""

import json
import struct
import time
import zlib

import numpy as np

from tests.support.blender import bpy, module, start_job


class SilentClient:
    """Takes every command and never answers."""

    def __init__(self):
        self.sent, self.state, self.hello, self.job = [], "busy", None, ""

    def submit(self, job_id, folder, resume=False):
        self.sent.append(("submit", job_id, resume))

    def cancel(self, job_id):
        self.sent.append(("cancel", job_id))

    def poll(self, budget=0.0):
        return []

    def shutdown(self, timeout):
        pass


class HandJob:
    """Starts a job on the selected objects; the test then plays the backend."""

    def __init__(self, monkeypatch, **settings):
        self.jobs, self.pump = module("addon.run.lifecycle"), module("addon.run.pump")
        self.live = module("addon.run.showing")
        client = SilentClient()
        monkeypatch.setattr(module("addon.process.backend"), "client", lambda: client)
        module("addon.session").session.client = client
        self.client = client
        self.job = self.start(settings)

    def start(self, settings):
        settings = {"prompt": "red brick"} | settings
        return start_job(settings)

    def say(self, kind, /, **body):
        self.jobs.handle(module("job.process.messages").Message(kind, self.job.id, 1, body))

    def write_uv(self, sources):
        faces = sum(len(t.corners) for t in self.job.targets)
        uv = np.random.default_rng(0).random((faces, 3, 2), np.float32)
        np.savez(self.job.folder / "result" / "uv.npz", uv=uv, source=np.array(sources))
        return uv

    def preview(self, part=0, size=64, color=(200, 30, 10)):
        pixels = bytes([*color, 255]) * size * size
        path = f"preview/texture_{part}.rgba"
        self.say("preview", path=path, kind="texture", part=part, width=size, height=size, step=1, pixels=pixels)
        self.work_until_it_lands()

    def work_until_it_lands(self):
        end = time.monotonic() + 600
        while not self.pump.work(time.perf_counter() + 1) and self.live.pictures.busy():
            assert time.monotonic() < end
            time.sleep(0.002)

    def finish(self, sources=("user",), color=(200, 30, 10)):
        parts = []
        for i, (target, source) in enumerate(zip(self.job.targets, sources, strict=True)):
            name = f"result/albedo_{i}.png"
            (self.job.folder / name).write_bytes(png(16, 16, color))
            parts.append({"name": target.name, "albedo": name, "uv_source": source})
        record = {"settings": self.job.spec.to_json(), "parts": parts, "licences": {}, "complete": True}
        record["kind"] = self.job.spec.kind
        (self.job.folder / "result" / "result.json").write_text(json.dumps(record))
        self.say("result", files={}, stats={})
        self.pump.work(time.perf_counter() + 1)


class ObjectHandJob(HandJob):
    """The same for a job that makes an object."""

    def start(self, settings):
        return start_job({"prompt": "small robot"} | settings, kind="text-to-3d")

    def preview(self, segments=8, color=(200, 30, 10)):
        positions, triangles, _uv = cone(segments)
        colors = np.tile(np.uint8(color), (len(positions), 1))
        np.savez(self.job.folder / "preview" / "mesh.npz", positions=positions, triangles=triangles, colors=colors)
        self.say("preview", path="preview/mesh.npz", kind="mesh", part=0, step=segments, pixels=None)
        self.work_until_it_lands()

    def write_result(self, segments=12, complete=True, height=1.0):
        write_object_result(self.job.folder, self.job.spec.to_json(), segments, complete, height)

    def finish(self, **result):
        self.write_result(**result)
        self.say("result", files={}, stats={})
        self.work_until_it_lands()


def write_object_result(folder, settings, segments=12, complete=True, height=1.0):
    """What the backend leaves in ``result/``."""
    positions, triangles, uv = cone(segments, height)
    np.savez(folder / "result" / "mesh.npz", positions=positions, triangles=triangles, uv=uv)
    (folder / "result" / "albedo.png").write_bytes(png(16, 16, (200, 30, 10)))
    record = {
        "settings": settings,
        "complete": complete,
        "kind": "text-to-3d",
        "parts": [{"name": "object", "albedo": "result/albedo.png", "uv_source": "new"}],
        "roughness": 0.7,
        "metallic": 0.0,
        "licences": {},
    }
    (folder / "result" / "result.json").write_text(json.dumps(record))


def cone(segments, height=1.0):
    """A closed cone with its foot at zero: positions, triangles, and UVs of the corners."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([np.cos(angle) / 3, np.sin(angle) / 3, 0 * angle], 1)
    positions = np.concatenate([ring, [[0, 0, 0], [0, 0, height]]]).astype(np.float32)
    i = np.arange(segments)
    j = (i + 1) % segments
    foot, tip = np.full(segments, segments), np.full(segments, segments + 1)
    triangles = np.concatenate([np.stack([j, i, foot], 1), np.stack([i, j, tip], 1)]).astype(np.int32)
    uv = np.random.default_rng(segments).random((len(triangles), 3, 2), np.float32)
    return positions, triangles, uv


def png(width, height, color):
    rows = b"".join(b"\0" + bytes(color) * width for _ in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def look(obj):
    """Everything of an object that a preview may touch, as plain values to compare."""
    slots = []
    for i, slot in enumerate(obj.material_slots):
        link = slot.link
        data = obj.data.materials[i]
        slots.append((link, slot.material and slot.material.name, data and data.name))
    layers = [(u.name, u.active, u.active_render) for u in obj.data.uv_layers]
    return slots, layers, module("addon.scene.preview.slots").preview_of(obj)


def temporary():
    """Names of the data-blocks that a preview made."""
    key = module("addon.scene.preview.temporary").KEY
    collections = (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images)
    return [b.name for c in collections for b in c if key in b]


def census():
    """How many data-blocks of every sort are used; the factory file has a material that the first save drops."""
    sorts = ("objects", "meshes", "materials", "images", "collections", "node_groups")
    return {name: sum(block.users > 0 for block in getattr(bpy.data, name)) for name in sorts}


def growing():
    """The preview of the object that is being made."""
    return bpy.data.objects.get("CSD Preview")
