"""Does a part of an installation do its work? For the health checks of compose.yaml, and for people.

A process that runs says little: the ML backend has to answer, the worker to have looked for answers lately, and the
newest backup to be young. Each check returns nothing, or is a `UserError` that says what is wrong.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from ml_backend.loop.worker import beat_file
from preference.config_file import load_config
from preference.errors import DiskFull, UserError
from preference.workspace import Workspace
from robopref.regular_backup import kept_in

LEAST_SPACE = 500_000_000
"""Bytes, below which nothing is started."""
QUIET_S = 1800.0
"""Seconds without a look or progress, after which a worker is stuck. One step of a long training takes less."""


def check_space(folder: Path) -> None:
    """
    Raises:
        DiskFull: clips, models and backups would not fit.
    """
    if (free := shutil.disk_usage(folder).free) < LEAST_SPACE:
        found = f"{free / 1e6:.0f} MB are free for the work folder {folder}, expected {LEAST_SPACE / 1e6:.0f} at least"
        raise DiskFull(f"{found[0].upper()}{found[1:]}.", fix="Free some space, or set ROBOPREF_WORK to a larger disk.")


def check_service(config: Path) -> None:
    """
    Raises:
        UserError: the ML backend does not answer, or something else does.
    """
    port = load_config(config).service.port
    url = f"http://127.0.0.1:{port}/health"
    try:
        told = httpx.get(url, timeout=8, trust_env=False).json()
    except httpx.HTTPError as error:
        raise UserError(f"The ML backend does not answer at {url}: {error}.") from None
    except ValueError:
        told = {}
    if not isinstance(told, dict) or told.get("status") != "UP":
        raise UserError(f"The ML backend at {url} is not up: {str(told)[:200]}.")


def check_worker(ws: Workspace, now: float | None = None) -> None:
    """
    Args:
        now: Seconds since 1970.

    Raises:
        UserError: it has done nothing for half an hour.
    """
    now = time.time() if now is None else now
    seen = [path.stat().st_mtime for path in (beat_file(ws),) if path.exists()]
    if activity := ws.store.activity():
        seen.append(datetime.fromisoformat(activity.at).timestamp())
    if not seen or now - max(seen) > QUIET_S:
        last = f"since {datetime.fromtimestamp(max(seen), UTC):%Y-%m-%d %H:%M} UTC" if seen else "yet"
        raise UserError(f"The worker has not looked for answers {last}.", fix="Its log says why; restart it.")


def check_backups(folder: Path, within_h: float, now: float | None = None) -> None:
    """
    Raises:
        UserError: the newest backup is older than `within_h` hours, or there is none.
    """
    now = time.time() if now is None else now
    newest = max((path.stat().st_mtime for path in kept_in(folder)), default=None)
    if newest is None:
        raise UserError(f"There is no backup in {folder}.")
    if now - newest > within_h * 3600:
        raise UserError(f"The newest backup in {folder} is {(now - newest) / 3600:.0f} hours old.")
