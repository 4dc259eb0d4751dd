"""Clips into S3-compatible storage, where Label Studio makes presigned links to them.

Trajectories with clips come in; objects `PREFIX/NAME.mp4` are there afterwards. An object that already
has the clip's checksum is left alone, so an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from preference.bucket import client, key_of
from preference.config import S3
from preference.records import Trajectory
from preference.work import progress
from preference.workspace import Workspace

TABLE = "label_studio.s3"
CHECKSUM = "robopref-sha256"
"""Our own metadata of an object: its ETag depends on how it was uploaded."""


def upload_clips(ws: Workspace, trajectories: Iterable[Trajectory]) -> int:
    """Upload the clips that the bucket lacks, or has in an older version; returns how many.

    Raises:
        ConfigError: boto3 is not installed.
        StudioError: the store does not answer, or refuses us.
    """
    settings = ws.config.label_studio.s3
    clips = {t.clip: t.clip_sha256 for t in trajectories if t.clip}
    uploaded = 0
    with client(settings, TABLE) as store, progress("Clips into the bucket", len(clips)) as advance:
        for clip, checksum in clips.items():
            key = key_of(settings, Path(clip).name)
            if not checksum or _checksum(store, settings.bucket, key) != checksum:
                _put(store, settings.bucket, key, ws.root / clip, checksum)
                uploaded += 1
            advance(1)
    return uploaded


def check_bucket(settings: S3) -> None:
    """
    Raises:
        ConfigError: boto3 is not installed.
        StudioError: the bucket does not answer, or refuses us.
    """
    with client(settings, TABLE) as store:
        store.list_objects_v2(Bucket=settings.bucket, Prefix=key_of(settings, ""), MaxKeys=1)


def _checksum(store: Any, bucket: str, key: str) -> str:
    """The checksum that we stored with the object; empty where there is none."""
    from botocore.exceptions import ClientError

    try:
        return str(store.head_object(Bucket=bucket, Key=key)["Metadata"].get(CHECKSUM, ""))
    except ClientError as error:
        if str(error.response["Error"]["Code"]) in ("404", "NoSuchKey"):
            return ""
        raise


def _put(store: Any, bucket: str, key: str, file: Path, checksum: str) -> None:
    extra = {"ContentType": "video/mp4", "Metadata": {CHECKSUM: checksum}}
    store.upload_file(str(file), bucket, key, ExtraArgs=extra)
