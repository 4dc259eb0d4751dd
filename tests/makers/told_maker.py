"""What Label Studio says when it is asked for tasks, over HTTP: as much of its API as the service needs."""

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit


class Told(http.server.ThreadingHTTPServer):
    """`tasks`: task id → its annotations, to be changed at will; `down`: answer 503 to everything."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tasks, self.down, self.asked = {}, False, 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def say(self, *annotations):
        """These are there, in place of older versions of them."""
        for annotation in annotations:
            others = [a for a in self.tasks.get(annotation["task"], []) if a["id"] != annotation["id"]]
            self.tasks[annotation["task"]] = [*others, annotation]

    def end(self):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked += 1
        address = urlsplit(self.path)
        if server.down or address.path != "/api/tasks/":
            return self._reply(503 if server.down else 404, {})
        (item,) = json.loads(parse_qs(address.query)["query"][0])["filters"]["items"]
        assert (item["filter"], item["operator"]) == ("filter:tasks:id", "in_list")
        found = [
            {"id": task, "updated_at": "2026-01-01T12:00:00.000000Z", "annotations": server.tasks[task]}
            for task in item["value"]
            if task in server.tasks
        ]
        return self._reply(200, {"tasks": found, "total": len(found)})

    def _reply(self, status, body):
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass
