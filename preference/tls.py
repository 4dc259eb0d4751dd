"""The certificate authorities by which servers are checked, loaded once in a process.

httpx loads them for each new client, also for one that speaks to this machine without TLS: 20 ms of CPU, more than the
request itself.
"""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def authorities(trust_env: bool) -> ssl.SSLContext:
    """`verify` of a client of httpx. `trust_env`: those that SSL_CERT_FILE or SSL_CERT_DIR names, where one is set."""
    return httpx.create_ssl_context(trust_env=trust_env)
