"""A backend without torch that behaves, or misbehaves, as told: ``fake_worker.py MODE``.

``happy`` paints a small texture with previews and a result; every other mode is a fault.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

MODES = (
    "happy",
    "slow",
    "crash",
    "hang",
    "garbage",
    "half-line",
    "wrong-version",
    "oom",
    "slow-cancel",
    "ignore-cancel",
    "exit-before-hello",
    "no-hello",
    "silent",
    "disk-full",
    "two-ends",
    "invalid-numbers",
    "chatter",
    "stdout-noise",
    "grandchild",
    "long-line",
    "deep-json",
    "flood",
)
SIZE = 64
_lock = threading.Lock()
_seq = 0
_cancelled = threading.Event()


def send(kind: str, job: str = "", /, **body) -> None:
    global _seq
    with _lock:
        _seq += 1
        record = {"v": 1, "type": kind, "job": job, "seq": _seq, **body}
        sys.stdout.buffer.write(json.dumps(record).encode() + b"\n")
        sys.stdout.buffer.flush()


def png(width: int, height: int, rgb: bytes) -> bytes:
    """An 8-bit RGB PNG file, rows from the top."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + rgb[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def color(step: int, total: int) -> tuple[int, int, int]:
    part = step / total
    return int(128 + 100 * part), int(128 - 60 * part), int(128 - 90 * part)


def replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_bytes(data)
    os.replace(beside, path)


def write_result(folder: Path, step: int, total: int) -> dict:
    files = {}
    for i, name in enumerate(parts(folder)):
        role = "albedo" if len(parts(folder)) == 1 else f"albedo_{i}"
        replace(folder / "result" / f"{role}.png", png(SIZE, SIZE, bytes(color(step, total)) * SIZE * SIZE))
        files[role] = f"result/{role}.png"
        del name
    settings = json.loads((folder / "job.json").read_text())
    record = {
        "settings": settings,
        "complete": step == total,
        "seed": settings.get("seed", 0),
        "parts": [
            {"name": name, "albedo": path, "uv_source": "user"}
            for name, path in zip(parts(folder), files.values())  # noqa: B905
        ],
        "versions": {"csd_blender": "fake"},
        "licences": {},
        "timings": {"steps": step},
        "warnings": [],
    }
    replace(folder / "result" / "result.json", json.dumps(record).encode())
    files["result"] = "result/result.json"
    return files


def parts(folder: Path) -> list[str]:
    """Names of the parts in ``mesh.npz``, read without numpy: a ``<U`` array after its .npy header."""
    import zipfile

    try:
        with zipfile.ZipFile(folder / "mesh.npz") as archive:
            raw = archive.read("part_names.npy")
    except (OSError, KeyError, zipfile.BadZipFile):
        return ["mesh"]
    length = struct.unpack("<H", raw[8:10])[0]
    header = raw[10 : 10 + length].decode()
    width = int(header.split("'<U")[1].split("'")[0])
    text = raw[10 + length :].decode("utf-32-le")
    return [text[i : i + width].rstrip("\0") for i in range(0, len(text), width)] or ["mesh"]


def preview(folder: Path, job: str, step: int, total: int) -> None:
    r, g, b = color(step, total)
    pixels = bytes((r, g, b, 255)) * SIZE * SIZE
    for i in range(len(parts(folder))):
        replace(folder / "preview" / f"texture_{i}.rgba", pixels)
        body = {"path": f"preview/texture_{i}.rgba", "kind": "texture", "part": i}
        send("preview", job, width=SIZE, height=SIZE, step=step, **body)
    replace(folder / "preview" / "view.rgba", pixels)
    send("preview", job, path="preview/view.rgba", width=SIZE, height=SIZE, kind="view", part=0, step=step)


def run(mode: str, job: str, folder: Path) -> None:
    send("accepted", job)
    send("stage", job, name="prepare", label="Preparing the mesh", index=0, count=3)
    send("stage", job, name="paint", label="Painting", index=1, count=3)
    total, pause = (20, 0.02) if mode != "slow" else (300, 0.05)
    if mode == "chatter":
        total, pause = 2000, 0.0
    for step in range(1, total + 1):
        if _cancelled.is_set() and mode not in ("ignore-cancel", "slow-cancel"):
            send("cancelled", job, kept=True, files=write_result(folder, step, total))
            return
        time.sleep(pause)
        rate = 1 / max(pause, 1e-3)
        send(
            "progress", job, stage="paint", step=step, total=total, steps_per_second=rate,
            seconds_left=(total - step) * pause, memory_mb=100, device_memory_mb=0, metrics={"t": 0.5},
        )  # fmt: skip
        if step % 4 == 0:
            preview(folder, job, step, total)
        if step == 8 and mode == "invalid-numbers":
            told = {"code": "model_not_finite", "text": "Invalid numbers.", "fix": "Choose another."}
            told |= {"detail": "big, from step 9 on", "retryable": False, "kept": True}
            send("error", job, **told, files=write_result(folder, step, total))
            return
        if step == 8:
            fault(mode, job)
    send("stage", job, name="finish", label="Baking the texture", index=2, count=3)
    send("result", job, files=write_result(folder, total, total), stats={"seconds": total * pause, "steps": total})
    if mode == "two-ends":
        send("error", job, code="internal", text="again", fix="", retryable=False, detail="")
    if mode == "flood":
        for _ in range(4000):
            send("warning", job, code="bad_setting", text="and another thing")


def fault(mode: str, job: str) -> None:
    """What goes wrong in the middle of a job."""
    if mode == "crash":
        os._exit(7)
    elif mode == "garbage":
        sys.stdout.buffer.write(b'\x00\xff not json\n[1,2]\n{"type": 3}\n\n')
        sys.stdout.buffer.flush()
    elif mode == "grandchild":  # crash, leaving a process that keeps the pipe open
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        os._exit(7)
    elif mode == "long-line":
        sys.stdout.buffer.write(b'{"v":1,"type":"warning","text":"' + b"x" * 3_000_000 + b'"}\n')
    elif mode == "deep-json":
        sys.stdout.buffer.write(b"[" * 200_000 + b"\n")
    elif mode == "half-line":
        sys.stdout.buffer.write(b'{"v":1,"type":"resu')
        sys.stdout.buffer.flush()
        os._exit(0)
    elif mode in ("hang", "ignore-cancel"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            time.sleep(1)
    elif mode == "silent":
        _silence.set()
        time.sleep(3600)
    elif mode == "slow-cancel":
        try:
            send("warning", job, code="bad_setting", text="from here on only an interrupt helps")
            time.sleep(3600)
        except KeyboardInterrupt:
            send("cancelled", job, kept=False, files={})
            raise
    elif mode in ("oom", "disk-full"):
        code = "oom" if mode == "oom" else "no_space"
        send("error", job, code=code, text="Told to fail.", fix="Do something.", retryable=False, detail="")
        raise InterruptedError


_silence = threading.Event()


def heartbeat() -> None:
    while not _silence.is_set():
        send("heartbeat", phase="working", time=time.time())
        time.sleep(0.1)


def main() -> None:
    mode = sys.argv[1] if len(sys.argv) > 1 else "happy"
    if mode not in MODES:
        sys.exit(f"unknown mode {mode}")
    if mode == "exit-before-hello":
        sys.exit(3)
    if mode == "no-hello":
        time.sleep(3600)
    if mode == "stdout-noise":
        print("a library says hello")
    protocol = 99 if mode == "wrong-version" else 1
    send(
        "hello", protocol=protocol, version="fake", python="3", torch="none", default_device="cpu",
        devices=[{"id": "cpu", "name": "Fake CPU", "memory_mb": 1000}], features=["texture"], pid=os.getpid(),
    )  # fmt: skip
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as the true one does
    threading.Thread(target=heartbeat, daemon=True).start()
    jobs: list = []
    wake = threading.Event()

    def listen() -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if message["type"] == "cancel":
                _cancelled.set()
            elif message["type"] == "submit":
                jobs.append(message)
                wake.set()
            elif message["type"] == "shutdown":
                break
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        wake.wait()
        wake.clear()
        while jobs:
            message = jobs.pop(0)
            _cancelled.clear()
            try:
                run(mode, message["job"], Path(message["folder"]))
            except (InterruptedError, KeyboardInterrupt):
                pass


if __name__ == "__main__":
    main()
