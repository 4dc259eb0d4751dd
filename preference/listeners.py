"""Who listens on a port of this machine: a secret goes only to a server that runs as the same user.

Another user can take a port while our server is stopped. A port in; the name of that user out.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from preference.errors import UserError

SOCKETS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Linux's tables of sockets, which name the user of each, whoever asks."""
LISTENS = "0A"
REACHED = ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1")
"""Addresses of a listener that gets what is sent to 127.0.0.1."""


def check_own(url: str, whose: str, *, error: type[UserError] = UserError, fix: str = "") -> None:
    """Before a secret is sent to `url` on this machine. Where nobody listens, the request itself will fail.

    Args:
        whose: The server that should be there.

    Raises:
        error: A program of another user has the port.
    """
    port = urlsplit(url).port
    if port and (owner := foreign_listener(port)):
        raise error(f"{url} should be {whose}, but a program of {owner} has the port. Nothing was sent to it.", fix=fix)


def foreign_listener(port: int) -> str:
    """Who else listens on 127.0.0.1:`port`, in words; empty where it is this user, or nobody."""
    if SOCKETS[0].exists():
        others = sorted(set(_listening_users(port)) - {os.geteuid()})
        return f"the user {_name(others[0])}" if others else ""
    # other systems tell us about our own processes only
    return "" if _is_ours(port) or not _is_open(port) else "another user"


def _listening_users(port: int) -> Iterator[int]:
    """Ids of the users of the sockets that listen there."""
    here = {f"{_hexadecimal(address)}:{port:04X}" for address in REACHED}
    for table in SOCKETS:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for _, local, _, state, _, _, _, user, *_ in map(str.split, lines):
            if local in here and state == LISTENS:
                yield int(user)


def _hexadecimal(address: str) -> str:
    """As the tables have it: words of 32 bits in this machine's order of bytes."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    words = [int.from_bytes(packed[i : i + 4], sys.byteorder) for i in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words)


def _is_ours(port: int) -> bool:
    """Whether one of this user's processes listens there."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().effective == os.geteuid() and any(
                one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in process.net_connections("tcp")
            ):
                return True
    return False


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _name(user: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return str(user)
