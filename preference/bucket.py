"""An S3-compatible bucket: its client, and files by way of it for machines that share no folder.

`carried(function, ...)` is the function as another machine runs it. What it reads is fetched there once, to the place
where it is here; what it writes goes into the bucket and comes back by `receive`. Files are named by their content, so
nothing is sent twice, and a task that is done a second time because its machine died writes the same object again.
The only file that imports boto3 (extra `s3`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from preference.artifacts import replacing, sha256_of
from preference.config import Bucket
from preference.errors import ConfigError, StudioError

_HERE: set[tuple[tuple[str, str], ...]] = set()
"""What this process has looked for, and has."""


@contextmanager
def client(settings: Bucket, table: str) -> Iterator[Any]:
    """boto3's client; what it raises becomes a StudioError.

    Args:
        table: Of robopref.toml, which an error names.

    Raises:
        ConfigError: boto3 is not installed.
        StudioError: the store does not answer, or refuses us.
    """
    try:
        import boto3
        from boto3.exceptions import S3UploadFailedError
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        fix = 'Install it with `pip install "robopref[s3]"`.'
        raise ConfigError(f"{table} names a bucket, but boto3 is not installed.", fix=fix) from None
    # not every store that speaks S3 knows AWS's newer checksums
    config = Config(signature_version="s3v4", request_checksum_calculation="when_required", retries={"max_attempts": 3})
    made = boto3.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region or "us-east-1",
        aws_access_key_id=settings.access_key.get_secret_value() or None,
        aws_secret_access_key=settings.secret_key.get_secret_value() or None,
        config=config,
    )
    try:
        yield made
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        where = settings.endpoint or "AWS"
        raise StudioError(
            f"The bucket {settings.bucket!r} at {where} cannot be used: {' '.join(str(error).split())}",
            fix=f"Check {table} in robopref.toml, and ROBOPREF_S3_ACCESS_KEY and ROBOPREF_S3_SECRET_KEY.",
        ) from None


@dataclass(frozen=True)
class Carried:
    """A function of one item, on a machine that has none of our files; picklable."""

    function: Callable[[Any], Any]
    settings: Bucket
    reads: tuple[tuple[str, str], ...]
    """(absolute path, SHA-256) of each file."""
    writes: Callable[[Any], Path] | None

    def __call__(self, item: Any) -> Any:
        if self.reads not in _HERE:
            for path, digest in self.reads:
                _fetch(self.settings, Path(path), digest)
            _HERE.add(self.reads)
        result = self.function(item)
        if self.writes is not None:
            made = self.writes(item)
            with client(self.settings, "cluster") as store:
                store.upload_file(str(made), self.settings.bucket, _result_key(self.settings, made))
        return result


def carried(
    function: Callable[[Any], Any], settings: Bucket, reads: Iterable[Path], writes: Callable[[Any], Path] | None
) -> Carried:
    """Send what `function` reads, and return it as other machines run it.

    Args:
        reads: Files and folders; links are followed.
        writes: The one file that it makes of an item.
    """
    files = sorted(file for path in reads for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    listed = tuple((str(file.absolute()), _digest(file, _stamp(file))) for file in files)
    with client(settings, "cluster") as store:
        prefix = key_of(settings, "files/")
        pages = store.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
        known = {found["Key"] for page in pages for found in page.get("Contents", [])}
        for path, digest in listed:
            if (key := prefix + digest) not in known:
                store.upload_file(path, settings.bucket, key)
                known.add(key)
    return Carried(function, settings, listed, writes)


def _stamp(file: Path) -> tuple[int, int, int]:
    """What changes with a file's content."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@cache
def _digest(file: Path, _stamp: tuple[int, int, int]) -> str:
    """A run maps several functions over one pool, which is hashed once."""
    return sha256_of(file)


def receive(settings: Bucket, made: Path) -> None:
    """The file that an item's function made elsewhere, into its place here; then the bucket forgets it."""
    key = _result_key(settings, made)
    with client(settings, "cluster") as store, replacing(made) as temporary:
        store.download_file(settings.bucket, key, str(temporary))
    with client(settings, "cluster") as store:
        store.delete_object(Bucket=settings.bucket, Key=key)


def _fetch(settings: Bucket, path: Path, digest: str) -> None:
    """Once per machine and user, whichever of their processes comes first."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(Path(tempfile.gettempdir()) / f"robopref-{os.getuid()}-{digest[:32]}.lock"):
        if path.is_file() and sha256_of(path) == digest:
            return
        with client(settings, "cluster") as store, replacing(path) as temporary:
            store.download_file(settings.bucket, key_of(settings, f"files/{digest}"), str(temporary))


def _result_key(settings: Bucket, made: Path) -> str:
    return key_of(settings, f"results/{sha256(str(made.absolute()).encode()).hexdigest()[:16]}/{made.name}")


def key_of(settings: Bucket, name: str) -> str:
    """Key of the object of that name."""
    return f"{settings.prefix.strip('/')}/{name}".lstrip("/")
