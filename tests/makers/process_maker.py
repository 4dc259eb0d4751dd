"""Processes that a test started, found by what stands on their command lines."""

import os
from pathlib import Path


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
