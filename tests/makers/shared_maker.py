"""What is made once for all processes of a run (pytest-xdist), whichever of them needs it first."""

import contextlib
import fcntl
import json
import shutil
import time

from filelock import FileLock


def run_folder(tmp_path_factory):
    """A temporary folder that all processes of this run see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


def make_once(folder, name, make):
    """`make(path)` fills the folder `path`, once in a run; returns it. Copy it before you change anything in it."""
    path = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            making = folder / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)  # of a run that was killed
            making.mkdir()
            make(making)
            making.rename(path)
    return path


@contextlib.contextmanager
def serve_once(folder, name, start):
    """What `start()`, a context manager, yields of a server: something that JSON holds.

    The first process that needs the server starts it. It stops it when the others, who each hold a shared lock on a
    file while they use it, have gone; whoever comes later starts it again. Killed, it takes the server with it.
    """
    address, lock = folder / f"{name}.json", FileLock(folder / f"{name}.lock")
    with contextlib.ExitStack() as server, (folder / f"{name}.users").open("w") as users:
        with lock:
            fcntl.flock(users, fcntl.LOCK_SH)
            ours = not address.exists()
            if ours:
                address.write_text(json.dumps(server.enter_context(start())))
            told = json.loads(address.read_text())
        try:
            yield told
        finally:
            if ours:
                _last_one_out(users, lock, address)


def _last_one_out(users, lock, address):
    while True:
        with lock:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                address.unlink()
                return
        time.sleep(0.2)
