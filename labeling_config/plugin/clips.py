"""Clips under names that belong to one task: `/robopref/clips/TASK/left`.

A clip's own address names its trajectory, and its size, time stamp and tag are the same wherever it is shown; any of
them would give a repeat away. Annotators therefore get these addresses instead, and no others are open to them:

- the name is the task's number and the side, without `.mp4`: Label Studio then asks for the clip before it plays it,
  and says so where there is none;
- all clips of a folder (or of a prefix of a bucket) are served as long as the longest of them: an MP4 box of type
  `free`, which players skip, fills each one up (ISO/IEC 14496-12, 8.1.2);
- there is no time stamp, and the tag, by which browsers cache, is a keyed hash that differs from task to task.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.http import Http404, HttpResponse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.urls import reverse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.utils._os import safe_join  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.utils.cache import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    get_conditional_response,
)
from django.utils.crypto import salted_hmac  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from rest_framework.decorators import api_view, permission_classes  # pyright: ignore[reportMissingImports]
from rest_framework.permissions import IsAuthenticated  # pyright: ignore[reportMissingImports]

from labeling_config.contract import VIDEO_LEFT, VIDEO_RIGHT

SIDES = {"left": VIDEO_LEFT, "right": VIDEO_RIGHT}
LOCAL, BUCKET = "/data/local-files/", "s3://"
TELLING = re.compile(r"^s3://|/data/local-files/|/tasks/\d+/(resolve|presign)/")
"""Addresses that name the clip, as tasks have them and as Label Studio resolves them; one on a web server is left."""
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
CLIP = ".mp4"
BOX_HEAD = 8
"""Bytes of the head of an MP4 box: the smallest box there is."""
KEPT_S = 600
"""How long a browser may show a clip, and we the sizes in a bucket, without looking again."""


def rename(task: dict[str, Any]) -> None:
    """In a task as the API shows it, put our addresses in the place of those that name the clip."""
    data = task.get("data")
    if isinstance(data, dict):
        for side, key in SIDES.items():
            if isinstance(data.get(key), str):
                data[key] = shown_address(data[key], task.get("id"), side)


def shown_address(address: str, task_id: int | None, side: str) -> str:
    """The address under which an annotator sees the clip at `address`; empty if it would name the clip."""
    if not TELLING.search(address):
        return address
    return reverse("robopref-clip", args=[task_id, side]) if task_id else ""


@api_view(["GET", "HEAD"])
@permission_classes([IsAuthenticated])
def clip(request: Any, task_id: int, side: str) -> HttpResponse:
    """One side's clip of a task. Who may see it is in `routes`: an annotator to whom it was served, and managers."""
    from tasks.models import Task  # pyright: ignore[reportMissingImports]

    task = Task.objects.select_related("project").filter(pk=task_id).first()
    address = task.data.get(SIDES.get(side, "")) if task and isinstance(task.data, dict) else None
    if not isinstance(address, str):
        raise Http404
    body, size, version = _from_bucket(task.project, address) if address.startswith(BUCKET) else _from_disk(address)
    body += _filling(size - len(body))
    secret = salted_hmac("robopref clip", f"{task_id} {side} {version} {size}", algorithm="sha256")
    return _answer(request, body, f'"{secret.hexdigest()[:32]}"')


def _answer(request: Any, body: bytes, tag: str) -> HttpResponse:
    """The clip, or the one range of it that was asked for."""
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    first = int(asked[1]) if asked else 0
    last = min(int(asked[2]) if asked and asked[2] else len(body) - 1, len(body) - 1)
    if first > last:
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    else:
        response = HttpResponse(body[first : last + 1], content_type="video/mp4", status=206 if asked else 200)
        if asked:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    common = {"Accept-Ranges": "bytes", "Cache-Control": f"private, max-age={KEPT_S}", "ETag": tag}
    for name, value in common.items():
        response.headers[name] = value
    return response if asked else get_conditional_response(request, etag=tag, response=response) or response


def _filling(missing: int) -> bytes:
    """An MP4 box of `missing` bytes, at least `BOX_HEAD`, that holds nothing."""
    return missing.to_bytes(4, "big") + b"free" + bytes(missing - BOX_HEAD)


def _from_disk(address: str) -> tuple[bytes, int, str]:
    """The file, the size that all of its folder are served with, and what changes when it is replaced."""
    name = parse_qs(urlsplit(address).query).get("d", [""])[0]
    if LOCAL not in address or not name.endswith(CLIP) or not settings.LOCAL_FILES_SERVING_ENABLED:
        raise Http404
    try:
        path = Path(safe_join(settings.LOCAL_FILES_DOCUMENT_ROOT, name))
        with path.open("rb") as file:
            stat, body = os.fstat(file.fileno()), file.read()
        longest = _longest_on_disk(path.parent, path.parent.stat().st_mtime_ns)
    except (OSError, ValueError):
        raise Http404 from None
    return body, max(longest, len(body)) + BOX_HEAD, f"{stat.st_mtime_ns} {stat.st_size}"


@lru_cache(maxsize=64)
def _longest_on_disk(folder: Path, _mtime_ns: int) -> int:
    """Bytes of the longest clip of a folder; its time stamp moves when a clip comes, goes or is replaced."""
    return max((entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(CLIP)), default=0)


def _from_bucket(project: Any, address: str) -> tuple[bytes, int, str]:
    """As `_from_disk`, through the project's own storage: a presigned link would name the clip."""
    from io_storages.functions import get_storage_by_url  # pyright: ignore[reportMissingImports]

    storage = get_storage_by_url(address, project.get_all_import_storage_objects)
    if storage is None:
        raise Http404
    stream, _, about = storage.get_bytes_stream(address)
    if stream is None:
        raise Http404
    body = b"".join(stream.iter_chunks())
    where = urlsplit(address)
    longest = _longest_in_bucket(storage, where.netloc, where.path.lstrip("/"))
    return body, max(longest, len(body)) + BOX_HEAD, str(about.get("ETag"))


_listed: dict[tuple[str, str, str], tuple[float, Mapping[str, int]]] = {}


def _longest_in_bucket(storage: Any, bucket: str, key: str) -> int:
    """Bytes of the longest clip beside this one. The list is read again after `KEPT_S`, and where it lacks the clip."""
    folder = key.rpartition("/")[0]
    place = str(storage.s3_endpoint), bucket, folder
    at, sizes = _listed.get(place, (0.0, {}))
    if time.monotonic() - at > KEPT_S or key not in sizes:
        pages = storage.get_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/")
        sizes = {found["Key"]: int(found["Size"]) for page in pages for found in page.get("Contents", ())}
        _listed[place] = (time.monotonic(), sizes)
    return max(sizes.values(), default=0)
