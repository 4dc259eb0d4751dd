"""A Hugging Face hub on this machine that has one dataset: what its package asks of a server, and no more."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def hub_with(hub_id: str, folder: Path) -> Iterator[str]:
    """Serve the files of `folder` as the dataset `hub_id`; yields the address for HF_ENDPOINT."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/datasets/{hub_id}/tree/"):
                self.reply([_listed(name, file) for name, file in files.items()])
            elif path.startswith(f"/api/datasets/{hub_id}"):
                self.reply({"id": hub_id, "sha": REVISION, "siblings": [{"rfilename": name} for name in files]})
            elif path.startswith(f"/datasets/{hub_id}/resolve/"):
                self.send(files[path.split("/", 6)[6]].read_bytes())
            else:
                self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

        def reply(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

        def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            tag = f'"{hashlib.sha1(body).hexdigest()}"'
            told = {"Content-Length": str(len(body)), "ETag": tag, "X-Repo-Commit": REVISION, **(headers or {})}
            for name, text in told.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _listed(name: str, file: Path) -> dict[str, object]:
    body = file.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    return {"type": "file", "path": name, "size": len(body), "oid": oid}
