"""Clips into S3-compatible storage, where Label Studio makes presigned links to them.

Trajectories with clips come in; objects `PREFIX/NAME.mp4` are there afterwards. An object that already
has the clip's checksum is left alone, so an interrupted run continues. The only file that imports boto3 (extra `s3`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preference.config import S3
from preference.errors import ConfigError, StudioError
from preference.records import Trajectory
from preference.work import progress
from preference.workspace import Workspace

CHECKSUM = "robopref-sha256"
"""Our own metadata of an object: its ETag depends on how it was uploaded."""


def key_of(name: str, settings: S3) -> str:
    """Key of the clip with that file name."""
    return f"{settings.prefix.strip('/')}/{name}".lstrip("/")


def upload_clips(ws: Workspace, trajectories: Iterable[Trajectory]) -> int:
    """Upload the clips that the bucket lacks, or has in an older version; returns how many.

    Raises:
        ConfigError: boto3 is not installed.
        StudioError: the store does not answer, or refuses us.
    """
    settings = ws.config.label_studio.s3
    clips = {t.clip: t.clip_sha256 for t in trajectories if t.clip}
    uploaded = 0
    with _client(settings) as client, progress("Clips into the bucket", len(clips)) as advance:
        for clip, checksum in clips.items():
            key = key_of(Path(clip).name, settings)
            if not checksum or _checksum(client, settings.bucket, key) != checksum:
                _put(client, settings.bucket, key, ws.root / clip, checksum)
                uploaded += 1
            advance(1)
    return uploaded


def check_bucket(settings: S3) -> None:
    """
    Raises:
        ConfigError: boto3 is not installed.
        StudioError: the bucket does not answer, or refuses us.
    """
    with _client(settings) as client:
        client.list_objects_v2(Bucket=settings.bucket, Prefix=key_of("", settings), MaxKeys=1)


@contextmanager
def _client(settings: S3) -> Iterator[Any]:
    """boto3's client; what it raises becomes a StudioError."""
    try:
        import boto3
        from boto3.exceptions import S3UploadFailedError
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        fix = 'Install it with `pip install "robopref[s3]"`.'
        raise ConfigError('label_studio.clips = "s3", but boto3 is not installed.', fix=fix) from None
    # not every store that speaks S3 knows AWS's newer checksums
    config = Config(signature_version="s3v4", request_checksum_calculation="when_required", retries={"max_attempts": 3})
    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region or "us-east-1",
        aws_access_key_id=settings.access_key.get_secret_value() or None,
        aws_secret_access_key=settings.secret_key.get_secret_value() or None,
        config=config,
    )
    try:
        yield client
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        where = settings.endpoint or "AWS"
        raise StudioError(
            f"The bucket {settings.bucket!r} at {where} cannot be used: {' '.join(str(error).split())}",
            fix="Check label_studio.s3 in robopref.toml, and ROBOPREF_S3_ACCESS_KEY and ROBOPREF_S3_SECRET_KEY.",
        ) from None


def _checksum(client: Any, bucket: str, key: str) -> str:
    """The checksum that we stored with the object; empty where there is none."""
    from botocore.exceptions import ClientError

    try:
        return str(client.head_object(Bucket=bucket, Key=key)["Metadata"].get(CHECKSUM, ""))
    except ClientError as error:
        if str(error.response["Error"]["Code"]) in ("404", "NoSuchKey"):
            return ""
        raise


def _put(client: Any, bucket: str, key: str, file: Path, checksum: str) -> None:
    extra = {"ContentType": "video/mp4", "Metadata": {CHECKSUM: checksum}}
    client.upload_file(str(file), bucket, key, ExtraArgs=extra)
