"""plotly.js for a page that must work alone: the script that the `plotly` package brings, packed, and its hash.

Whole it is 4.8 MB of every report; gzipped and in base64 it is 2 MB, and every browser since 2023 unpacks it itself
(DecompressionStream). The hash lets the page's Content-Security-Policy allow this script and no other.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class Bundle:
    packed: str
    """The script, gzipped, in base64."""
    source: str
    """`sha256-…`, as a Content-Security-Policy names the script."""


@lru_cache(maxsize=1)
def plotly_bundle() -> Bundle:
    """The same bytes on every call and machine with that version of plotly."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return Bundle(base64.b64encode(gzip.compress(script, 9, mtime=0)).decode(), script_source(script))


def script_source(script: bytes) -> str:
    """How a Content-Security-Policy names a script by its content."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode()
