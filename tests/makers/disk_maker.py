"""A small disk, a full one, and a folder that other users may enter."""

import contextlib
import os
import resource
import subprocess
import tempfile
from pathlib import Path


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own at `folder`, where we may mount one; yields whether it is."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


@contextlib.contextmanager
def full(folder, mounted, pid=0):
    """No byte more fits: the disk is filled, or where it is not ours the process (0 = this one) may write no more."""
    filler = folder / "filler"
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    if mounted:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    else:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def let_others_in(folder):
    """Other users may enter a folder under the system's temporary one, and those above it."""
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            return
        each.chmod(0o755)


@contextlib.contextmanager
def as_nobody(folder):
    """This process as user 65534, who may enter `folder`; only root can become another user."""
    let_others_in(folder)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
