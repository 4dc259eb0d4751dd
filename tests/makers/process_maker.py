"""Processes that a test started, found by what is on their command lines; runs that are killed; one of another user."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from paths import ROOT

PATIENCE_S = 300.0
"""For anything that is waited for; on an idle machine it takes seconds."""
NOBODY = 65534
LISTEN = """
import encodings.idna, http.server, os, sys, traceback
class Everything(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        print(self.requestline, dict(self.headers), self.rfile.read(length), file=sys.stderr, flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"release": "1.23.2", "status": "UP"}')
    do_POST = do_PATCH = do_GET
    def log_message(self, *_): pass
os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
server = http.server.HTTPServer(("127.0.0.1", 0), Everything)
print(server.server_port, flush=True)
server.serve_forever()
"""


def until(what, patience_s=PATIENCE_S):
    """The first truth that `what` gives, asked again and again; the last answer where there was none in time."""
    deadline = time.monotonic() + patience_s
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@contextlib.contextmanager
def foreign_server(log):
    """The port of a server that another user runs and that says yes to everything; needs root. What it was sent is in
    `log`."""
    command = [sys.executable, "-c", LISTEN, str(NOBODY)]
    with log.open("w") as told, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def runs_killed(script, argument):
    """`run("push 7")` sends that line to a process of `script`, which answers with the exit code of a fork that did it:
    True where the fork was killed, False where it ended by itself."""
    command = [sys.executable, "-c", script, str(argument)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code != 0

        yield run
        process.stdin.close()
        process.wait(60)


def processes_of(root):
    """Every process that names the folder on its command line, other than ours."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(root) in command and int(entry.parent.name) != os.getpid():
            found.append(command)
    return found
