"""A server on this computer that speaks the Hugging Face hub's protocol as far as its client needs it for downloads,
and that breaks in all the ways in which the hub, or the line to it, does."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
#: Endings of files that are kept by Git LFS, and come from another address.
LARGE = (".safetensors", ".bin", ".onnx", ".ckpt")


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        cut: a large file's connection ends after so many bytes; ``cuts`` times.
        per_second: bytes a second of large files; 0 for as fast as it goes.
        wrong: paths whose bytes come with one of them changed; ``wrong_times`` times in all.
        status: every answer about files is this number; ``api_status`` the same for what the repository holds.
        error_code, error_message: headers of these answers.
        ranges: whether a part of a file can be asked for.
        token: what must be sent, where it is not empty.
        silent: no answer comes to requests for large files.
    """

    cut: int = 0
    cuts: int = 0
    per_second: int = 0
    wrong: tuple[str, ...] = ()
    wrong_times: int = 10**9
    status: int = 0
    api_status: int = 0
    error_code: str = ""
    error_message: str = ""
    ranges: bool = True
    token: str = ""
    silent: bool = False


@dataclass
class Hub:
    """Repositories, each a folder, by name; what goes wrong; what was asked: ``(method, path, range)``."""

    repositories: dict[str, Path]
    faults: Faults = field(default_factory=Faults)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    commit: str = COMMIT
    licence: str = "openrail"
    address: str = ""

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def bytes_asked(self, ending: str) -> list[str]:
        """The ranges of all requests for files of that ending, an empty one for a whole file."""
        return [wanted for method, path, wanted in self.asked if method == "GET" and path.endswith(ending)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sum(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        faults = self.hub.faults
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            if faults.api_status:
                return self.refuse(faults.api_status)
            return self.tell("/".join(parts[2:4]), parts[5] if parts[4:5] == ["revision"] else "")
        if parts[0] == "lfs":
            return self.send_file(self.hub.repositories["/".join(parts[1:3])] / "/".join(parts[3:]), path, body)
        if len(parts) > 4 and parts[2] == "resolve":
            if faults.status:
                return self.refuse(faults.status)
            if faults.token and self.headers.get("Authorization") != f"Bearer {faults.token}":
                return self.refuse(401, "GatedRepo", "Access to model is restricted.")
            repository = self.hub.repositories.get("/".join(parts[:2]))
            file = repository / "/".join(parts[4:]) if repository else None
            if file is None or not file.is_file() or parts[3] not in ("main", self.hub.commit):
                return self.refuse(404, "EntryNotFound")
            if file.name.endswith(LARGE):
                self.send_response(302)
                self.send_header("Location", f"{self.hub.address}/lfs/{'/'.join(parts[:2])}/{'/'.join(parts[4:])}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            return self.send_file(file, path, body)
        return self.refuse(404)

    def tell(self, name: str, commit: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self.refuse(401)  # as the hub does for what does not exist, to those who are not logged in
        if commit and commit not in ("main", self.hub.commit):
            return self.refuse(404, "RevisionNotFound")
        siblings = []
        for file in sorted(p for p in repository.rglob("*") if p.is_file()):
            data = file.read_bytes()
            entry = {"rfilename": file.relative_to(repository).as_posix(), "size": len(data), "blobId": git_sum(data)}
            if file.name.endswith(LARGE):
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        about = {"id": name, "sha": self.hub.commit, "siblings": siblings, "cardData": {"license": self.hub.licence}}
        self.send(200, json.dumps(about).encode())

    def send_file(self, file: Path, path: str, body: bool) -> None:
        faults = self.hub.faults
        large = path.startswith("/lfs/")
        if large and faults.silent:
            time.sleep(30)
        data = file.read_bytes()
        if any(path.endswith(wrong) for wrong in faults.wrong) and faults.wrong_times > 0:
            faults.wrong_times -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = self.headers.get("Range", "") if faults.ranges else ""
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        piece = data[start:]
        cut = large and faults.cut and faults.cuts > 0 and len(piece) > faults.cut
        if cut:
            faults.cuts -= 1
            piece = piece[: faults.cut]
        try:
            self.pour(piece, faults.per_second if large else 0)
        except OSError:
            self.close_connection = True
            return
        if cut:
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()

    def pour(self, data: bytes, per_second: int) -> None:
        if not per_second:
            self.wfile.write(data)
            return
        size = max(1, per_second // 50)
        for at in range(0, len(data), size):
            self.wfile.write(data[at : at + size])
            self.wfile.flush()
            time.sleep(0.02)

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        faults = self.hub.faults
        headers = {
            "X-Error-Code": code or faults.error_code,
            "X-Error-Message": message or faults.error_message,
        }
        self.send(status, b'{"error": "no"}', {name: value for name, value in headers.items() if value})

    def send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
