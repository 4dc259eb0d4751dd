"""A Hugging Face hub on this machine that takes repositories: commits whole, large files before them, tags after."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

LARGE = (".onnx", ".safetensors", ".pt", ".npz", ".parquet")
TOKEN = "hf_of_the_test"


class Hub:
    """`repositories`: (kind, name) → private, gated, files of the main branch, commits, tags → files then.

    `failing` holds parts of paths; a request whose path has one of them is answered 500. `invalid` is part
    of a card → what the hub says of a card that has it.
    """

    def __init__(self):
        self.repositories, self.stored, self.asked, self.failing = {}, {}, [], set()
        self.invalid = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def repository(self, name, kind="dataset"):
        return SimpleNamespace(**self.repositories[kind, name])

    def answer(self, method, path, body, handler):
        if any(part in path for part in self.failing):
            return 500, {"error": "down"}
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}" and "/lfs/put/" not in path:
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            made = json.loads(body)
            name = "/".join(filter(None, [made.get("organization"), made["name"]]))
            if name.startswith("forbidden"):
                return 403, {"error": "not your namespace"}
            key = made.get("type", "model"), name
            private = made.get("private", made.get("visibility") == "private")
            new = {"private": private, "gated": False, "files": {}, "commits": [], "tags": {}}
            if key in self.repositories:
                return 409, {"error": "exists", "url": f"{self.url}/{name}"}
            self.repositories[key] = new
            return 200, {"url": f"{self.url}/{'datasets/' if key[0] == 'dataset' else ''}{name}", "name": name}
        if path == "/api/validate-yaml":
            asked = json.loads(body)
            errors = [{"message": words} for part, words in self.invalid.items() if part in asked["content"]]
            return 400 if errors else 200, {"errors": errors, "warnings": []}
        if path.startswith("/lfs/put/"):
            self.stored[path.rpartition("/")[2]] = body
            return 200, {}
        parts = path.strip("/").split("/")
        if ".git/info/lfs/objects/batch" in path:
            return 200, self._batch(json.loads(body))
        if parts[0] == "api":
            return self._api(method, parts, body)
        return self._resolve(parts)

    def _batch(self, asked):
        found = []
        for one in asked["objects"]:
            entry = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.stored:
                entry["actions"] = {"upload": {"href": f"{self.url}/lfs/put/{one['oid']}", "header": {}}}
            found.append(entry)
        return {"transfer": "basic", "objects": found}

    def _api(self, method, parts, body):
        kind, name, rest = parts[1][:-1], "/".join(parts[2:4]), parts[4:]
        repository = self.repositories.get((kind, name))
        if repository is None:
            return 404, {"error": "Repository not found"}
        if rest[:1] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "shouldIgnore": False, "oid": None,
                      "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular"} for f in files]  # fmt: skip
            return 200, {"files": modes}
        if rest[:1] == ["commit"]:
            lines = [json.loads(line) for line in body.decode().splitlines()]
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    repository["files"][value["path"]] = base64.b64decode(value["content"])
                if line["key"] == "deletedFile":
                    del repository["files"][value["path"]]
                if line["key"] == "lfsFile":
                    repository["files"][value["path"]] = self.stored[value["oid"]]
            repository["commits"].append(lines[0]["value"]["summary"])
            return 200, {"commitUrl": f"{self.url}/{name}/commit/abc", "commitOid": "a" * 40, "success": True}
        if rest[:1] == ["tree"]:
            return 200, [{"type": "file", "path": p, "size": 1, "oid": "a" * 40} for p in repository["files"]]
        if rest[:1] == ["tag"]:
            repository["tags"][json.loads(body)["tag"]] = dict(repository["files"])
            return 200, {}
        if rest[:1] == ["settings"]:
            repository |= {k: v for k, v in json.loads(body).items() if k in ("gated", "private")}
            return 200, {}
        if rest[:1] == ["refs"]:
            tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": "a" * 40} for t in repository["tags"]]
            return 200, {"branches": [], "converts": [], "tags": tags}
        return 200, {"id": name, "sha": "a" * 40, "private": repository["private"], "siblings": [], "tags": []}

    def _resolve(self, parts):
        kind = "dataset" if parts[0] == "datasets" else "model"
        parts = parts[1:] if kind == "dataset" else parts
        repository = self.repositories[kind, "/".join(parts[:2])]
        files = repository["files"] if parts[3] == "main" else repository["tags"].get(parts[3], {})
        path = "/".join(parts[4:])
        return (200, files[path]) if path in files else (404, {"error": "Entry not found"})

    def _handler(hub):
        class Handler(BaseHTTPRequestHandler):
            def _serve(self):
                path = unquote(urlsplit(self.path).path)
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                hub.asked.append((self.command, path))
                status, found = hub.answer(self.command, path, body, self)
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                headers = {"Content-Length": str(len(data)), "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
                headers |= {"X-Repo-Commit": "a" * 40, "Content-Type": "application/json"}
                if status == 404:
                    headers["X-Error-Code"] = "EntryNotFound" if b"Entry" in data else "RepoNotFound"
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = _serve

            def log_message(self, *_):
                pass

        return Handler
