"""Backups by the clock: one every so many hours, and only the newest are kept.

In: a folder. Out: `robopref-20261129T191500Z.tar` and so on in it, each complete. A backup that fails is tried again
after a quarter of an hour, and nothing older is deleted for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from preference.artifacts import check_writable
from preference.errors import DataError, UserError
from robopref.backup import BackupResult, Studio, back_up, explained

AGAIN_S = 900.0
NAMES = "robopref-????????T??????Z.tar"


def kept_in(folder: Path) -> list[Path]:
    """The backups of this kind in `folder`, the oldest first; files of other names are somebody else's."""
    return sorted(folder.glob(NAMES))


def back_up_regularly(
    config: Path,
    folder: Path,
    studio: Studio,
    *,
    every_h: float,
    keep: int,
    on_done: Callable[[BackupResult], None],
    on_trouble: Callable[[UserError], None],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until interrupted. The first one is made at once, unless the newest in `folder` is young enough.

    Args:
        keep: How many are left after each.
        clock: Seconds since 1970.

    Raises:
        DataError: there is no such folder.
        UserError: it belongs to another user.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} for backups.")
    check_writable(folder, "The folder for backups")
    while True:
        try:
            with explained(folder):
                newest = max((path.stat().st_mtime for path in kept_in(folder)), default=0.0)
                wait = newest + every_h * 3600 - clock()
                if wait <= 0:
                    made = datetime.fromtimestamp(clock(), UTC)
                    on_done(back_up(config, folder / f"robopref-{made:%Y%m%dT%H%M%SZ}.tar", studio))
                    wait = every_h * 3600
                    for path in kept_in(folder)[:-keep]:
                        path.unlink(missing_ok=True)
        except UserError as error:
            wait = AGAIN_S
            on_trouble(error)
        sleep(wait)
