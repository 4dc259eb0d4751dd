"""An S3-compatible server and a Ray cluster of separate processes, whose workers do not see our folders."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time

import httpx
import psutil

from robopref.child import claim_port

START_S = 300
TRIES = 6
STARTED = "Ray runtime started"
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
"""Told to all of the cluster and to who connects."""


@contextlib.contextmanager
def ended(process):
    """Kill it at the end, with all that it began."""
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    """As a machine that loses power."""
    with contextlib.suppress(psutil.Error):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()
    process.wait(30)


@contextlib.contextmanager
def s3_server(folder):
    """Address of moto's server, which is a store of its own."""
    port = claim_port(None, "The store")
    with (folder / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with ended(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)):
            address = f"http://127.0.0.1:{port}"
            until(lambda: _answers(address), "the store")
            yield address


def _answers(address):
    try:
        return httpx.get(address, timeout=5, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def ray_cluster(folder, hidden, workers=2):
    """Address of the head, which does no work, and the workers' processes; they find `hidden` empty."""
    port = claim_port(None, "Ray's head")
    address = f"127.0.0.1:{port}"
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--node-ip-address=127.0.0.1", "--block",
           "--object-store-memory=100000000"]  # fmt: skip
    alone = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{hidden}" && exec "$@"', "worker"]
    with contextlib.ExitStack() as stack:
        # a short name: a socket's may have 107 bytes
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))

        def start(name, *command):
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            return stack.enter_context(
                ended(
                    subprocess.Popen(
                        command, stdout=log, stderr=log, cwd="/", start_new_session=True,
                        env={**os.environ, **RAY},
                    )
                )
            )  # fmt: skip

        def start_patiently(name, *command):
            """Ray gives up after 30 s, which a busy machine may need."""
            for attempt in range(TRIES):
                log, process = folder / f"{name}.log", start(name, *command)
                try:
                    until(lambda log=log: said(log, STARTED), name, log, process)
                    return process
                except TimeoutError:
                    if attempt == TRIES - 1:
                        raise
                    kill(process)

        start_patiently("head", *ray, "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false",
                        f"--temp-dir={home}")  # fmt: skip
        worker = [*alone, *ray, f"--address={address}", "--num-cpus=1"]
        started = [start_patiently(f"worker{number}", *worker) for number in range(workers)]
        yield address, started


def said(log, text):
    return log.exists() and text in log.read_text(errors="replace")


def until(true, what, log=None, process=None):
    deadline = time.monotonic() + START_S
    while not true():
        if time.monotonic() > deadline or (process and process.poll() is not None):
            raise TimeoutError(f"{what} did not come up: {log.read_text()[-2000:] if log else ''}")
        time.sleep(0.3)
