"""A proxy in front of Label Studio that delays, refuses or loses what it is told to."""

import http.server
import time

import httpx

from preference.tls import authorities

HOP = {"connection", "transfer-encoding", "content-encoding", "content-length", "host"}


class Proxy(http.server.BaseHTTPRequestHandler):
    """Between us and Label Studio: `rule(method, path, number)` says what to do with each request.

    None: pass it on. "lost": pass it on, and answer 500 as if it had failed. A number: that status, without passing
    it on. "slow": pass it on after two seconds.
    """

    target = ""
    rule = staticmethod(lambda method, path, number: None)
    counter = 0

    def _handle(self):
        type(self).counter += 1
        rule = type(self).rule(self.command, self.path, type(self).counter)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if isinstance(rule, int):
            return self._say(rule, b'{"detail": "no"}', {})
        if rule == "slow":
            time.sleep(2)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
        headers["Host"] = self.target.split("//")[1]
        made = httpx.request(
            self.command, self.target + self.path, content=body, headers=headers, follow_redirects=False, timeout=60,
            verify=authorities(True),
        )  # fmt: skip
        if rule == "lost":
            return self._say(500, b'{"detail": "Internal Server Error"}', {})
        kept = {k: v for k, v in made.headers.items() if k.lower() not in HOP and k.lower() != "set-cookie"}
        return self._say(made.status_code, made.content, kept, made.headers.get_list("set-cookie"))

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle

    def _say(self, status, body, headers, cookies=()):
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            for cookie in cookies:
                self.send_header("Set-Cookie", cookie)
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting

    def log_message(self, *_):
        pass
