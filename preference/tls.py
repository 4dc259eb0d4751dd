"""The certificate authorities by which servers are checked, loaded once in a process, and again when they change.

httpx loads them for each new client, also for one that speaks to this machine without TLS: 20 ms of CPU, more than the
request itself.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

import httpx


def authorities(trust_env: bool) -> ssl.SSLContext:
    """`verify` of a client of httpx. `trust_env`: those that SSL_CERT_FILE or SSL_CERT_DIR names, where one is set."""
    paths = ssl.get_default_verify_paths()  # with what the environment names
    places = [Path(place) for place in (paths.cafile, paths.capath) if place and trust_env]
    return _loaded(trust_env, *((place, place.stat().st_mtime_ns) for place in places))


@lru_cache(maxsize=4)
def _loaded(trust_env: bool, *_: tuple[Path, int]) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)
